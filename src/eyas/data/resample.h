// Resizing: antialiased, in two passes with weights of 16 bits, each rounded to bytes, as torch has them. Images lie row by row,
// their channels (1 or 3) beside each other.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

// One piece of code for all widths of the processor's vectors: lanes of 16 bytes, on which each instruction works apart.
#if defined(__AVX512BW__)
#include <immintrin.h>
#define WIDE(name) _mm512_##name
typedef __m512i Lanes;
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDE(name) _mm256_##name
typedef __m256i Lanes;
#elif defined(__SSE4_1__)
#include <immintrin.h>
#define WIDE(name) _mm_##name
typedef __m128i Lanes;
#endif

namespace {

using Index = long;
using Byte = uint8_t;
using Bytes = std::vector<Byte>;
using Room = std::unique_ptr<Byte[]>;  // where all is about to be written

constexpr int TOGETHER = 2;  // weights that are used at once: behind an odd number of them stands a zero

struct Taps {  // of each output pixel: where its input begins, and what each pixel there weighs
  int outputs, most, precision;
  std::vector<int> first, count;
  std::vector<int16_t> weights;  // [outputs, most], and of as many more pixels as fill the last four: nothing

  size_t bytes() const { return sizeof(Taps) + sizeof(int) * 2 * first.size() + sizeof(int16_t) * weights.size(); }
};

struct Bilinear {
  static constexpr double REACH = 1;
  static double weight(double away) { return away < 1 ? 1 - away : 0; }
};

struct Bicubic {  // Keys 1981, with a = -1/2
  static constexpr double REACH = 2;
  static double weight(double away) {
    constexpr double a = -0.5;
    if (away < 1) return ((a + 2) * away - (a + 3)) * away * away + 1;
    return away < 2 ? ((a * away - 5 * a) * away + 8 * a) * away - 4 * a : 0;
  }
};

template <class Filter>
Taps made(int from, int to) {
  const double scale = (double)from / to;
  const double support = scale >= 1 ? Filter::REACH * scale : Filter::REACH, inverse = scale >= 1 ? 1 / scale : 1.0;
  const int widest = (int)std::ceil(support) * 2 + 1;
  const int filled = (to + 3) / 4 * 4;
  Taps found{to, 0, 0, std::vector<int>(filled), std::vector<int>(filled), {}};
  std::vector<double> exact((size_t)to * widest);
  double largest = 0;
  for (int i = 0; i < to; ++i) {
    const double centre = scale * (i + 0.5);
    const int first = std::max((int)(centre - support + 0.5), 0);
    const int count = std::clamp(std::min((int)(centre + support + 0.5), from) - first, 0, widest);
    double* own = &exact[(size_t)i * widest];
    double total = 0;
    for (int j = 0; j < count; ++j) {
      own[j] = Filter::weight(std::abs((j + first - centre + 0.5) * inverse));
      total += own[j];
    }
    for (int j = 0; j < count; ++j) {
      if (total != 0) own[j] /= total;
      largest = std::max(largest, own[j]);
    }
    found.first[i] = first;
    found.count[i] = count;
    found.most = std::max(found.most, (count + TOGETHER - 1) / TOGETHER * TOGETHER);
  }
  while (found.precision < 22 && (int)(0.5 + largest * (1 << (found.precision + 1))) < 1 << 15) ++found.precision;
  found.weights.resize((size_t)filled * found.most);
  for (int i = 0; i < to; ++i)
    for (int j = 0; j < found.count[i]; ++j) {
      const double weight = exact[(size_t)i * widest + j] * (1 << found.precision);
      found.weights[(size_t)i * found.most + j] = (int16_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  return found;
}

// The same again for a size that this thread has met: most pictures are like others.
template <class Filter>
const Taps& taps(int from, int to) {
  constexpr size_t MUCH = 4 << 20;  // bytes, of all of them but the last
  thread_local std::map<std::pair<int, int>, Taps> met;
  thread_local size_t held = 0;
  const auto found = met.find({from, to});
  if (found != met.end()) return found->second;
  Taps fresh = made<Filter>(from, to);
  const size_t bytes = fresh.bytes();
  if (held + bytes > MUCH) met.clear(), held = 0;
  held += bytes;
  return met.emplace(std::pair(from, to), std::move(fresh)).first->second;
}

inline Byte rounded(int sum, int precision) { return (Byte)std::clamp(sum >> precision, 0, 255); }

#ifdef WIDE

constexpr int LANES = sizeof(Lanes) / 16;

// 16 bytes of each of as many rows as there are lanes.
inline Lanes rows_at(const Byte* at, Index stride) {
  const auto row = [=](int i) { return _mm_loadu_si128((const __m128i*)(at + i * stride)); };
#if defined(__AVX512BW__)
  const Lanes two = _mm512_inserti32x4(_mm512_castsi128_si512(row(0)), row(1), 1);
  return _mm512_inserti32x4(_mm512_inserti32x4(two, row(2), 2), row(3), 3);
#elif defined(__AVX2__)
  return _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
#else
  return row(0);
#endif
}

inline Lanes everywhere(__m128i value) {
#if defined(__AVX512BW__)
  return _mm512_broadcast_i32x4(value);
#elif defined(__AVX2__)
  return _mm256_broadcastsi128_si256(value);
#else
  return value;
#endif
}

inline Lanes weights_of_two(const int16_t* weights) {
  int both;
  std::memcpy(&both, weights, sizeof both);
  return WIDE(set1_epi32)(both);
}

// Rows of pixels of three channels to another length, one a lane. Bytes behind a row are read too, see `resample_rows`.
void resample_colours(const Byte* from, Index from_stride, Byte* to, Index to_stride, const Taps& taps) {
  // The first two of four pixels, and the last two: 16-bit values, those of a channel beside each other.
  const Lanes early = everywhere(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
  const Lanes late = everywhere(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
  const Lanes dense = everywhere(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
  const Lanes half = WIDE(set1_epi32)(1 << (taps.precision - 1));
  const __m128i precision = _mm_cvtsi32_si128(taps.precision);
  const int outputs = taps.outputs, most = taps.most, *first = taps.first.data();
  const int16_t* weights = taps.weights.data();
  const auto sum = [=](int i) {
    Lanes sums = half;
    for (int j = 0; j < most; j += 4) {
      const Lanes pixels = rows_at(from + 3 * (Index)(first[i] + j), from_stride);
      const int16_t* own = weights + (Index)i * most + j;
      sums = WIDE(add_epi32)(sums, WIDE(madd_epi16)(WIDE(shuffle_epi8)(pixels, early), weights_of_two(own)));
      if (j + 2 == most) break;
      sums = WIDE(add_epi32)(sums, WIDE(madd_epi16)(WIDE(shuffle_epi8)(pixels, late), weights_of_two(own + 2)));
    }
    return WIDE(sra_epi32)(sums, precision);
  };
  for (int i = 0; i < outputs; i += 4) {
    const Lanes four = WIDE(packus_epi16)(WIDE(packs_epi32)(sum(i), sum(i + 1)), WIDE(packs_epi32)(sum(i + 2), sum(i + 3)));
    const Lanes made = WIDE(shuffle_epi8)(four, dense);
    Byte bytes[16 * LANES];
    std::memcpy(bytes, &made, sizeof made);
    for (int row = 0; row < LANES; ++row) {
      Byte* at = to + row * to_stride + 3 * (Index)i;
      if (i + 6 <= outputs)
        std::memcpy(at, bytes + 16 * row, 16);  // those that are too many are overwritten by the next
      else
        std::memcpy(at, bytes + 16 * row, 3 * std::min(4, outputs - i));
    }
  }
}

// As many neighbouring bytes as vectors hold, of rows that follow each other, weighed into one.
inline Lanes blend(const Byte* rows, Index stride, const int16_t* weights, int count, Lanes half, __m128i precision) {
  const Lanes none = WIDE(set1_epi32)(0);
  Lanes sums[4] = {half, half, half, half};
  for (int j = 0; j < count; j += 2) {
    Lanes one, other;
    std::memcpy(&one, rows + j * stride, sizeof one);
    std::memcpy(&other, rows + std::min(j + 1, count - 1) * stride, sizeof other);  // weighs nothing if there is none
    const Lanes both = weights_of_two(weights + j);
    const Lanes low = WIDE(unpacklo_epi8)(one, other), high = WIDE(unpackhi_epi8)(one, other);
    sums[0] = WIDE(add_epi32)(sums[0], WIDE(madd_epi16)(WIDE(unpacklo_epi8)(low, none), both));
    sums[1] = WIDE(add_epi32)(sums[1], WIDE(madd_epi16)(WIDE(unpackhi_epi8)(low, none), both));
    sums[2] = WIDE(add_epi32)(sums[2], WIDE(madd_epi16)(WIDE(unpacklo_epi8)(high, none), both));
    sums[3] = WIDE(add_epi32)(sums[3], WIDE(madd_epi16)(WIDE(unpackhi_epi8)(high, none), both));
  }
  for (Lanes& each : sums) each = WIDE(sra_epi32)(each, precision);
  return WIDE(packus_epi16)(WIDE(packs_epi32)(sums[0], sums[1]), WIDE(packs_epi32)(sums[2], sums[3]));
}

#else

constexpr int LANES = 1;

typedef int32_t Four __attribute__((vector_size(16)));
typedef Byte FourBytes __attribute__((vector_size(4)));

void resample_colours(const Byte* from, Index, Byte* to, Index, const Taps& taps) {
  const int precision = taps.precision, half = 1 << (precision - 1), outputs = taps.outputs, most = taps.most;
  const int *first = taps.first.data(), *count = taps.count.data();
  const int16_t* weights = taps.weights.data();
  for (int i = 0; i < outputs; ++i, weights += most) {
    Four sums = {half, half, half, half};
    for (int j = 0; j < count[i]; ++j) {
      FourBytes pixel;
      std::memcpy(&pixel, from + 3 * (Index)(first[i] + j), 4);
      sums += weights[j] * __builtin_convertvector(pixel, Four);
    }
    sums >>= precision;
    sums = sums < 0 ? 0 : sums;
    const FourBytes made = __builtin_convertvector(sums > 255 ? 255 : sums, FourBytes);
    std::memcpy(to + 3 * i, &made, 3);
  }
}

#endif

void resample_grey(const Byte* from, Byte* to, const Taps& taps) {
  const int half = 1 << (taps.precision - 1);
  for (int i = 0; i < taps.outputs; ++i) {
    const int16_t* weights = &taps.weights[(size_t)i * taps.most];
    int sum = half;
    for (int j = 0; j < taps.count[i]; ++j) sum += weights[j] * from[taps.first[i] + j];
    to[i] = rounded(sum, taps.precision);
  }
}

// `high` rows of `wide` pixels each, a `stride` apart, to rows of another length behind each other.
void resample_rows(const Byte* from, Index stride, int wide, int high, int channels, const Taps& taps, Byte* to) {
  const Index length = (Index)taps.outputs * channels, bytes = (Index)wide * channels;
  if (channels == 1) {
    for (int y = 0; y < high; ++y) resample_grey(from + y * stride, to + y * length, taps);
    return;
  }
  const Index behind = 3 * taps.most + 16;  // bytes that are read and weigh nothing
  int y = 0;
  if (behind <= bytes)  // then they are of the next row
    for (; y + LANES < high; y += LANES) resample_colours(from + y * stride, stride, to + y * length, length, taps);
  // Copies: behind the last row may be no memory, nor is there room for rows that do not fill all lanes.
  const Index before = bytes + behind;
  Bytes wider(LANES * before), made(LANES * length);
  for (; y < high; y += LANES) {
    const int rows = std::min(LANES, high - y);
    for (int row = 0; row < rows; ++row) std::memcpy(&wider[row * before], from + (y + row) * stride, bytes);
    resample_colours(wider.data(), before, made.data(), length, taps);
    std::memcpy(to + y * length, made.data(), rows * length);
  }
}

// Rows that follow each other, weighed into one.
void blend_rows(const Byte* rows, Index stride, Byte* to, Index length, const int16_t* weights, int count, int precision) {
  const int half = 1 << (precision - 1);
  Index done = 0;
#ifdef WIDE
  constexpr Index STEP = sizeof(Lanes);
  const Lanes halves = WIDE(set1_epi32)(half);
  while (done < length && length >= STEP) {
    const Index start = std::min(done, length - STEP);  // the last step makes some bytes again
    const Lanes made = blend(rows + start, stride, weights, count, halves, _mm_cvtsi32_si128(precision));
    std::memcpy(to + start, &made, sizeof made);
    done = start + STEP;
  }
#endif
  constexpr Index BLOCK = 256;
  for (; done < length; done += BLOCK) {
    const Index width = std::min(BLOCK, length - done);
    int sums[BLOCK];
    std::fill(sums, sums + BLOCK, half);
    for (int j = 0; j < count; ++j) {
      const Byte* row = rows + j * stride + done;
      const int weight = weights[j];
      for (Index x = 0; x < width; ++x) sums[x] += weight * row[x];
    }
    for (Index x = 0; x < width; ++x) to[done + x] = rounded(sums[x], precision);
  }
}

// A box of an image (left, top, right, bottom), whose rows are a `stride` apart, at another size.
template <class Filter>
void resize(const Byte* image, Index stride, int channels, const int* box, Byte* to, int width, int height) {
  const int left = box[0], top = box[1], wide = box[2] - left, high = box[3] - top;
  const Index length = (Index)width * channels;
  const Byte* from = image + top * stride + left * channels;
  Room narrow;
  if (wide != width) {
    narrow.reset(new Byte[high * length]);
    resample_rows(from, stride, wide, high, channels, taps<Filter>(wide, width), narrow.get());
    from = narrow.get();
    stride = length;
  }
  if (high == height) {
    for (int y = 0; y < height; ++y) std::memcpy(to + y * length, from + y * stride, length);
    return;
  }
  const Taps& down = taps<Filter>(high, height);
  for (int y = 0; y < height; ++y) {
    const int16_t* weights = &down.weights[(size_t)y * down.most];
    blend_rows(from + down.first[y] * stride, stride, to + y * length, length, weights, down.count[y], down.precision);
  }
}

}  // namespace
