// What training does between its matrix products, forward and backward, in as few passes over memory as it needs: depthwise
// convolution, batch normalisation with its activation, squeeze-and-excitation. Maps lie channels last, in float32 or
// bfloat16; everything is computed in float32, sums over images in double. kernels.py compiles it on the machine where it
// runs and says what each function takes.
//
// A thread's share of the work follows from its number alone, so that as many threads give the same bits.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#endif

namespace {

using Index = long;
using Doubles = std::vector<double>;

template <class T>
struct Aligned {  // to the lines of the cache: a vector that lies across two of them takes two loads
  using value_type = T;
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t count) { return (T*)::operator new(count * sizeof(T), std::align_val_t(64)); }
  void deallocate(T* at, size_t) { ::operator delete(at, std::align_val_t(64)); }
  template <class U>
  bool operator==(const Aligned<U>&) const { return true; }
  template <class U>
  bool operator!=(const Aligned<U>&) const { return false; }
};
using Floats = std::vector<float, Aligned<float>>;

struct Half {  // bfloat16: the upper half of a float
  uint16_t bits;
};

template <int N>
struct Lanes {
  typedef float Float __attribute__((vector_size(4 * N)));
  typedef int32_t Int __attribute__((vector_size(4 * N)));
  typedef uint32_t Wide __attribute__((vector_size(4 * N)));
  typedef uint16_t Narrow __attribute__((vector_size(2 * N)));
};

template <int N>
using V = typename Lanes<N>::Float;

template <int N>
inline V<N> load(const float* from) {
  V<N> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <int N>
inline V<N> load(const Half* from) {
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  if constexpr (N == 16) return (V<N>)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16);
#endif
  typename Lanes<N>::Narrow bits;
  std::memcpy(&bits, from, sizeof bits);
  return (V<N>)(__builtin_convertvector(bits, typename Lanes<N>::Wide) << 16);
}

template <int N>
inline void store(float* to, V<N> value) {
  std::memcpy(to, &value, sizeof value);
}

template <int N>
inline void store(Half* to, V<N> value) {  // to the nearest, ties to even
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  if constexpr (N == 16) {
    auto bits = _mm512_cvtneps_pbh((__m512)value);
    std::memcpy(to, &bits, sizeof bits);
    return;
  } else if constexpr (N == 8) {
    auto bits = _mm256_cvtneps_pbh((__m256)value);
    std::memcpy(to, &bits, sizeof bits);
    return;
  }
#endif
  auto wide = (typename Lanes<N>::Wide)value;
  auto rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  auto bits = __builtin_convertvector(value == value ? rounded : 0x7fc0 + 0 * rounded, typename Lanes<N>::Narrow);
  std::memcpy(to, &bits, sizeof bits);
}

inline float number(float value) { return value; }

inline float number(Half value) {
  uint32_t bits = uint32_t(value.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

enum Activation { NONE, RELU, RELU6, SILU, HARD_SWISH };

// e^x to about a millionth: 2^whole times 2^part by its Taylor series.
template <int N>
inline V<N> exponential(V<N> x) {
  V<N> bounded = x < -87.0f ? V<N>{} - 87.0f : x > 88.0f ? V<N>{} + 88.0f : x;
  V<N> power = bounded * 1.44269504f;
  auto exponent = __builtin_convertvector(power + 127.5f, typename Lanes<N>::Int);  // the nearest whole number, with its bias
  V<N> part = (power - __builtin_convertvector(exponent - 127, V<N>)) * 0.69314718f;
  V<N> value = part * (1 / 720.0f) + 1 / 120.0f;
  for (float term : {1 / 24.0f, 1 / 6.0f, 0.5f, 1.0f, 1.0f}) value = value * part + term;
  return value * (V<N>)(exponent << 23);
}

template <int A, int N>
inline V<N> activate(V<N> z) {
  V<N> zero{};
  if constexpr (A == RELU) return z < 0 ? zero : z;
  if constexpr (A == RELU6) return z < 0 ? zero : z > 6 ? zero + 6 : z;
  if constexpr (A == SILU) return z / (1 + exponential<N>(-z));
  if constexpr (A == HARD_SWISH) return z < -3 ? zero : z > 3 ? z : z * (z + 3) * (1.0f / 6);
  return z;
}

// What comes back through the activation of z where d came to its answer.
template <int A, int N>
inline V<N> through(V<N> z, V<N> d) {
  V<N> zero{};
  if constexpr (A == RELU) return z > 0 ? d : zero;
  if constexpr (A == RELU6) return z > 0 ? z < 6 ? d : zero : zero;
  if constexpr (A == SILU) {
    V<N> gate = 1 / (1 + exponential<N>(-z));
    return d * gate * (1 + z * (1 - gate));
  }
  if constexpr (A == HARD_SWISH) return z <= -3 ? zero : z >= 3 ? d : d * (z * (1.0f / 3) + 0.5f);
  return d;
}

struct Share {  // of `all` things, for this thread
  Index first, last;
  explicit Share(Index all) {
    Index thread = omp_get_thread_num(), threads = omp_get_num_threads();
    first = all * thread / threads;
    last = all * (thread + 1) / threads;
  }
};

// Sums that every thread keeps for itself.
struct Sums {
  std::vector<Doubles> of_thread;
  Sums() : of_thread(omp_get_max_threads()) {}
  Doubles& mine(Index count) {
    auto& found = of_thread[omp_get_thread_num()];
    found.assign(count, 0.0);
    return found;
  }
  Doubles total(Index count) const {
    Doubles all(count, 0.0);
    for (auto& each : of_thread)
      for (size_t i = 0; i < each.size(); i++) all[i] += each[i];
    return all;
  }
};

// A batch norm as kernels.py gives it, and where its mean and the inverse of its deviation are kept for the backward pass.
struct Norm {
  const float *gamma, *beta;
  float eps, momentum;
  float *running_mean, *running_var, *mean, *inverse;
};

// Numbers of each channel that the passes need.
struct Scale {
  Floats scale, shift;  // normalise and transform
  Scale(const Norm& norm, Index c) : scale(c), shift(c) {
    for (Index i = 0; i < c; i++) {
      scale[i] = norm.gamma[i] * norm.inverse[i];
      shift[i] = norm.beta[i] - norm.mean[i] * scale[i];
    }
  }
};

// The statistics from sums of (x - origin) and of its square over m values a channel; running ones move. The origin is some
// value that x may have: where a mean is far from 0, sums of squares alone would cancel.
void settle(const Norm& norm, const Floats& origin, const Doubles& sums, Index m, Index c) {
  for (Index i = 0; i < c; i++) {
    double off = sums[i] / m, variance = std::max(sums[c + i] / m - off * off, 0.0), mean = origin[i] + off;  // keeps NaN
    norm.mean[i] = mean;
    norm.inverse[i] = 1 / std::sqrt(variance + norm.eps);
    norm.running_mean[i] += norm.momentum * (float(mean) - norm.running_mean[i]);
    norm.running_var[i] += norm.momentum * (float(variance * m / std::max<Index>(m - 1, 1)) - norm.running_var[i]);
  }
}

// Rows of c channels are worked on several at a time as one wide row, so that vectors are full and sums independent; rows
// that are left over are worked on alone. Channels come in eights.
constexpr Index BLOCK = 64;  // wide rows whose sums are taken in float

struct Rows {
  Index times, wide, left, width;
  Rows(Index m, Index c) {
    times = c % 16 ? 2 : 1;
    while (times * c < 64) times *= 2;
    wide = m / times;
    left = m % times;
    width = times * c;
  }
};

Floats repeated(const float* values, Index c, Index times) {
  Floats wide(c * times);
  for (Index i = 0; i < c * times; i++) wide[i] = values[i % c];
  return wide;
}

// Two sums a column of the rows from `begin` to `end`: `each(row offset, column, first, second)` adds one vector's.
template <int N, int U, class F>
inline void columns(Index begin, Index end, Index width, Index from, float* first, float* second, F each) {
  V<N> s[U]{}, q[U]{};
  for (Index row = begin; row < end; row++)
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) each(row * width + from + u * N, from + u * N, s[u], q[u]);
  for (int u = 0; u < U; u++) {
    store<N>(first + from + u * N, load<N>(first + from + u * N) + s[u]);
    store<N>(second + from + u * N, load<N>(second + from + u * N) + q[u]);
  }
}

// `each` as above, a generic function of the lanes, called for all of m rows; two sums a channel.
template <class F>
Doubles summed(Index m, Index c, F each) {
  Rows rows(m, c);
  Sums sums;
#pragma omp parallel
  {
    auto& mine = sums.mine(2 * c);
    Floats first(rows.width), second(rows.width);
    auto gather = [&](Index count) {
      for (Index i = 0; i < count; i++) mine[i % c] += first[i], mine[c + i % c] += second[i];
      std::fill(first.begin(), first.end(), 0.0f);
      std::fill(second.begin(), second.end(), 0.0f);
    };
    Share share((rows.wide + BLOCK - 1) / BLOCK);
    for (Index block = share.first; block < share.last; block++) {
      Index begin = block * BLOCK, end = std::min(begin + BLOCK, rows.wide), i = 0;
      for (; i + 64 <= rows.width; i += 64) columns<16, 4>(begin, end, rows.width, i, first.data(), second.data(), each);
      for (; i < rows.width; i += 16) columns<16, 1>(begin, end, rows.width, i, first.data(), second.data(), each);
      gather(rows.width);
    }
    if (rows.left && omp_get_thread_num() == omp_get_num_threads() - 1) {
      Index begin = rows.wide * rows.times;
      for (Index i = 0; i < c; i += 8) columns<8, 1>(begin, begin + rows.left, c, i, first.data(), second.data(), each);
      gather(c);
    }
  }
  return sums.total(2 * c);
}

// `each(offset, column)` of the lanes for every vector of m rows, the end first: it was read last and is still near.
template <class F>
void swept(Index m, Index c, F each) {
  Rows rows(m, c);
#pragma omp parallel
  {
    if (rows.left && omp_get_thread_num() == omp_get_num_threads() - 1)
      for (Index at = rows.wide * rows.width; at < m * c; at += 8) each(std::integral_constant<int, 8>{}, at, at % c);
    Share share(rows.wide);
    for (Index row = share.last - 1; row >= share.first; row--)
      for (Index i = 0; i < rows.width; i += 16) each(std::integral_constant<int, 16>{}, row * rows.width + i, i);
  }
}

template <class T, int A>
void apply(const T* x, T* y, Index m, Index c, const Norm& norm) {
  Scale scale(norm, c);
  Index times = Rows(m, c).times;
  auto a = repeated(scale.scale.data(), c, times), b = repeated(scale.shift.data(), c, times);
  const float *pa = a.data(), *pb = b.data();
  swept(m, c, [=](auto lanes, Index at, Index i) {
    constexpr int N = lanes();
    store<N>(y + at, activate<A, N>(load<N>(x + at) * load<N>(pa + i) + load<N>(pb + i)));
  });
}

template <class T>
void statistics(const T* x, Index m, Index c, const Norm& norm) {
  Floats origin(c);
  for (Index i = 0; i < c; i++) origin[i] = number(x[m / 2 * c + i]);
  auto wide = repeated(origin.data(), c, Rows(m, c).times);
  const float* po = wide.data();
  auto sums = summed(m, c, [=](Index at, Index i, auto& s, auto& q) {
    constexpr int N = sizeof(s) / sizeof(float);
    auto d = load<N>(x + at) - load<N>(po + i);
    s += d;
    q += d * d;
  });
  settle(norm, origin, sums, m, c);
}

// What the gradient of x needs of each channel; the gradients of gamma and beta on the way.
struct Slopes : Scale {
  Floats mean, average, share;  // the last two: of what comes back, and of it times normalised x
  Slopes(const Norm& norm, Index c) : Scale(norm, c), mean(norm.mean, norm.mean + c), average(c), share(c) {}
};

template <class T, int A>
Slopes slopes_of(const T* x, const T* dy, Index m, Index c, const Norm& norm, float* dgamma, float* dbeta) {
  Slopes slopes(norm, c);
  Index times = Rows(m, c).times;
  auto a = repeated(slopes.scale.data(), c, times), b = repeated(slopes.shift.data(), c, times);
  auto mean = repeated(slopes.mean.data(), c, times);
  const float *pa = a.data(), *pb = b.data(), *pm = mean.data();
  auto sums = summed(m, c, [=](Index at, Index i, auto& s, auto& q) {
    constexpr int N = sizeof(s) / sizeof(float);
    auto value = load<N>(x + at);
    auto g = through<A, N>(value * load<N>(pa + i) + load<N>(pb + i), load<N>(dy + at));
    s += g;
    q += g * (value - load<N>(pm + i));
  });
  for (Index i = 0; i < c; i++) {
    dbeta[i] = sums[i];
    dgamma[i] = sums[c + i] * norm.inverse[i];
    slopes.average[i] = sums[i] / m;
    slopes.share[i] = sums[c + i] / m * norm.inverse[i] * norm.inverse[i];
  }
  return slopes;
}

template <int A, int N>
inline V<N> gradient(V<N> x, V<N> d, V<N> a, V<N> b, V<N> mean, V<N> average, V<N> share) {
  return a * (through<A, N>(x * a + b, d) - average - (x - mean) * share);
}

template <class T, int A>
void norm_backward(const T* x, const T* dy, T* dx, Index m, Index c, const Norm& norm, float* dgamma, float* dbeta) {
  Slopes slopes = slopes_of<T, A>(x, dy, m, c, norm, dgamma, dbeta);
  Index times = Rows(m, c).times;
  auto a = repeated(slopes.scale.data(), c, times), b = repeated(slopes.shift.data(), c, times);
  auto mean = repeated(slopes.mean.data(), c, times), average = repeated(slopes.average.data(), c, times);
  auto part = repeated(slopes.share.data(), c, times);
  const float *pa = a.data(), *pb = b.data(), *pm = mean.data(), *pv = average.data(), *ps = part.data();
  swept(m, c, [=](auto lanes, Index at, Index i) {
    constexpr int N = lanes();
    store<N>(dx + at, gradient<A, N>(load<N>(x + at), load<N>(dy + at), load<N>(pa + i), load<N>(pb + i), load<N>(pm + i),
                                     load<N>(pv + i), load<N>(ps + i)));
  });
}

// A sum for each image and channel over its places: `each(offset, column, sum, nothing)` adds one vector's.
template <class F>
void image_sums(float* sums, Index n, Index places, Index c, F each) {
#pragma omp parallel
  {
    Floats nothing(c);
    Share share(n);
    for (Index image = share.first; image < share.last; image++) {
      Index begin = image * places, end = begin + places, i = 0;
      float* to = sums + image * c;
      std::fill(to, to + c, 0.0f);
      for (; i + 64 <= c; i += 64) columns<16, 4>(begin, end, c, i, to, nothing.data(), each);
      for (; i + 16 <= c; i += 16) columns<16, 1>(begin, end, c, i, to, nothing.data(), each);
      if (i < c) columns<8, 1>(begin, end, c, i, to, nothing.data(), each);
    }
  }
}

// Sixteen channels at a time, at the end eight.
template <class F>
inline void lanes_of(Index channels, F each) {
  Index c = 0;
  for (; c + 16 <= channels; c += 16) each(std::integral_constant<int, 16>{}, c);
  if (c < channels) each(std::integral_constant<int, 8>{}, c);
}

// y = x * times + plus, where `times` and (if given) `plus` are of an image and a channel.
template <class T>
void scaled(const T* x, const float* times, const float* plus, T* y, Index n, Index places, Index c) {
#pragma omp parallel
  {
    Share share(n * places);
    for (Index place = share.first; place < share.last; place++) {
      Index image = place / places * c, at = place * c;
      lanes_of(c, [&](auto lanes, Index i) {
        constexpr int N = lanes();
        V<N> value = load<N>(x + at + i) * load<N>(times + image + i);
        store<N>(y + at + i, plus ? value + load<N>(plus + image + i) : value);
      });
    }
  }
}

struct Shape {
  Index n, c, h, w, oh, ow, top, left;  // images, channels, sides in and out, padding
};

constexpr Index NEAR = 48 * 1024;  // floats that stay in the second cache

// All images, some channels at a time: `each(image, first channel, channels, scratch, sums)`. As many channels as keep the rows
// that are worked on near, in multiples of 64: these are whole lines of the cache.
template <class F>
void images(const Shape& f, Index row, Index sums, Sums& kept, F each) {
  Index some = std::min(f.c, std::max<Index>(64, NEAR / row / 64 * 64)), parts = (f.c + some - 1) / some;
#pragma omp parallel
  {
    auto& mine = kept.mine(sums * f.c);
    Floats scratch;
    Share share(f.n * parts);
    for (Index task = share.first; task < share.last; task++) {
      Index n = task / parts, c = task % parts * some;
      each(n, c, std::min(some, f.c - c), scratch, mine.data() + c);
    }
  }
}

// A row of outputs of N channels from rows of inputs, and what it adds to two sums a channel.
template <class T, int K, int S, int N>
inline void convolve(const float* const* rows, const float* taps, T* z, Index count, Index stride, const float* origin, float* sums,
                     float* squares) {
  V<N> tap[K * K], middle = load<N>(origin), sum = load<N>(sums), square = load<N>(squares);
  for (int i = 0; i < K * K; i++) tap[i] = load<N>(taps + i * stride);
  for (Index ox = 0; ox < count; ox++) {
    V<N> value{};
#pragma GCC unroll 5
    for (int ky = 0; ky < K; ky++) {
      V<N> line{};
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++) line += load<N>(rows[ky] + (ox * S + kx) * N) * tap[ky * K + kx];
      value += line;
    }
    store<N>(z + ox * stride, value);
    V<N> d = value - middle;
    sum += d;
    square += d * d;
  }
  store<N>(sums, sum);
  store<N>(squares, square);
}

template <class T, int K, int S>
void depthwise(const T* x, const float* taps, T* z, const Shape& f, const Norm& norm) {
  Floats origin(f.c);
  for (Index i = 0; i < f.c; i++) {
    float all = 0;
    for (int tap = 0; tap < K * K; tap++) all += taps[tap * f.c + i];
    origin[i] = all * number(x[(f.h / 2 * f.w + f.w / 2) * f.c + i]);
  }
  Index length = (f.ow - 1) * S + K, seen = std::min(f.w, length - f.left);
  Sums kept;
  images(f, length * K, 2, kept, [&](Index n, Index from, Index channels, Floats& scratch, double* mine) {
    // A ring of K rows of inputs for every sixteen channels, zeros around them; a row of zeros; sums.
    scratch.assign(length * K * channels + length * 16 + 2 * channels, 0.0f);
    float *zeros = scratch.data() + length * K * channels, *sums = zeros + length * 16, *squares = sums + channels;
    const T* image = x + n * f.h * f.w * f.c + from;
    Index known = 0;
    for (Index oy = 0; oy < f.oh; oy++) {
      Index until = std::min(f.h, oy * S - f.top + K);
      lanes_of(channels, [&](auto lanes, Index c) {
        constexpr int N = lanes();
        float* ring = scratch.data() + c * K * length;
        for (Index iy = known; iy < until; iy++) {
          float* to = ring + (iy % K * length + f.left) * N;
          const T* row = image + iy * f.w * f.c + c;
          for (Index ix = 0; ix < seen; ix++) {
            __builtin_prefetch(row + (f.w + ix) * f.c);
            store<N>(to + ix * N, load<N>(row + ix * f.c));
          }
        }
        const float* rows[K];
        for (int ky = 0; ky < K; ky++) {
          Index iy = oy * S - f.top + ky;
          rows[ky] = iy >= 0 && iy < f.h ? ring + iy % K * length * N : zeros;
        }
        T* to = z + (n * f.oh + oy) * f.ow * f.c + from + c;
        convolve<T, K, S, N>(rows, taps + from + c, to, f.ow, f.c, &origin[from + c], sums + c, squares + c);
      });
      known = std::max(known, until);
    }
    for (Index i = 0; i < channels; i++) mine[i] += sums[i], mine[f.c + i] += squares[i];
  });
  settle(norm, origin, kept.total(2 * f.c), f.n * f.oh * f.ow, f.c);
}

// A row of what comes back to the convolution's outputs, N channels of each.
template <class T, int A, int N>
void back_row(const T* z, const T* dy, float* to, Index count, Index stride, const Slopes& of, Index c) {
  V<N> a = load<N>(&of.scale[c]), b = load<N>(&of.shift[c]), mean = load<N>(&of.mean[c]);
  V<N> average = load<N>(&of.average[c]), share = load<N>(&of.share[c]);
  for (Index i = 0; i < count; i++) {
    __builtin_prefetch(z + (count + i) * stride);  // the next row's
    __builtin_prefetch(dy + (count + i) * stride);
    store<N>(to + i * N, gradient<A, N>(load<N>(z + i * stride), load<N>(dy + i * stride), a, b, mean, average, share));
  }
}

// A row of what comes back to the inputs, columns P modulo S, from rows of outputs that taps Q modulo S bring (each with zeros
// on both sides); and to these taps.
template <class T, int K, int S, int P, int Q, int N>
inline void back_columns(const float* const* rows, const T* x, const float* taps, T* dx, const Shape& f, float* sums) {
  V<N> sum[K * K];
  for (int ky = Q; ky < K; ky += S)
    for (int kx = P; kx < K; kx += S) sum[ky * K + kx] = load<N>(sums + (ky * K + kx) * N);
  for (Index ix = (P + f.left) % S; ix < f.w; ix += S) {
    Index at = (ix + f.left - P) / S * N;
    __builtin_prefetch(x + (f.w + ix) * f.c);
    __builtin_prefetch(dx + (f.w + ix) * f.c, 1);
    V<N> value{}, here = load<N>(x + ix * f.c);
#pragma GCC unroll 5
    for (int ky = Q; ky < K; ky += S) {
      V<N> line{};
#pragma GCC unroll 5
      for (int kx = P; kx < K; kx += S) {
        V<N> d = load<N>(rows[ky] + at - (kx - P) / S * N);
        line += d * load<N>(taps + (ky * K + kx) * N);
        sum[ky * K + kx] += d * here;
      }
      value += line;
    }
    store<N>(dx + ix * f.c, value);
  }
  for (int ky = Q; ky < K; ky += S)
    for (int kx = P; kx < K; kx += S) store<N>(sums + (ky * K + kx) * N, sum[ky * K + kx]);
}

template <class T, int K, int S, int Q, int N>
inline void back_inputs(const float* const* rows, const T* x, const float* taps, T* dx, const Shape& f, float* sums) {
  back_columns<T, K, S, 0, Q, N>(rows, x, taps, dx, f, sums);
  if constexpr (S == 2) back_columns<T, K, S, 1, Q, N>(rows, x, taps, dx, f, sums);
}

template <class T>
struct Back {  // `back_row` for an activation, of both widths
  void (*wide)(const T*, const T*, float*, Index, Index, const Slopes&, Index);
  void (*narrow)(const T*, const T*, float*, Index, Index, const Slopes&, Index);
};

template <class T, int K, int S>
void depthwise_backward(const T* x, const float* taps, const T* z, const T* dy, T* dx, float* dtaps, const Shape& f, const Slopes& slopes,
                        Back<T> back) {
  Index length = std::max(f.ow, (f.w + f.left) / S + 1) + 2 * K;
  Sums kept;
  images(f, length * K, K * K, kept, [&](Index n, Index first, Index channels, Floats& scratch, double* mine) {
    // A ring of K rows of outputs for every sixteen channels, zeros around them; a row of zeros; taps, and sums for them.
    scratch.assign(length * K * channels + length * 16 + 2 * K * K * channels, 0.0f);
    float *zeros = scratch.data() + length * K * channels, *tap = zeros + length * 16, *sums = tap + K * K * channels;
    lanes_of(channels, [&](auto lanes, Index c) {
      constexpr int N = lanes();
      for (int i = 0; i < K * K; i++) store<N>(tap + c * K * K + i * N, load<N>(taps + i * f.c + first + c));
    });
    Index known = 0;  // rows of outputs that were worked on; the last K are in the ring
    for (Index iy = 0; iy < f.h; iy++) {
      Index until = std::min(f.oh, (iy + f.top) / S + 1);
      lanes_of(channels, [&](auto lanes, Index c) {
        constexpr int N = lanes();
        float* ring = scratch.data() + c * K * length;
        for (Index oy = known; oy < until; oy++) {
          Index out = (n * f.oh + oy) * f.ow * f.c + first + c;
          (N == 16 ? back.wide : back.narrow)(z + out, dy + out, ring + (oy % K * length + K) * N, f.ow, f.c, slopes, first + c);
        }
        const float* rows[K];
        for (int ky = 0; ky < K; ky++) {
          Index over = iy + f.top - ky;
          bool there = over >= 0 && over % S == 0 && over / S < f.oh;
          rows[ky] = (there ? ring + over / S % K * length * N : zeros) + K * N;
        }
        Index in = (n * f.h + iy) * f.w * f.c + first + c;
        if ((iy + f.top) % S == 0)
          back_inputs<T, K, S, 0, N>(rows, x + in, tap + c * K * K, dx + in, f, sums + c * K * K);
        else
          back_inputs<T, K, S, 1, N>(rows, x + in, tap + c * K * K, dx + in, f, sums + c * K * K);
      });
      known = std::max(known, until);
    }
    lanes_of(channels, [&](auto lanes, Index c) {
      for (int i = 0; i < K * K; i++)
        for (int lane = 0; lane < lanes(); lane++) mine[i * f.c + c + lane] += sums[c * K * K + i * lanes() + lane];
    });
  });
  auto total = kept.total(K * K * f.c);
  std::copy(total.begin(), total.end(), dtaps);
}

template <int I>
using Number = std::integral_constant<int, I>;

template <class F>
void with_activation(int a, F f) {
  switch (a) {
    case RELU: return f(Number<RELU>{});
    case RELU6: return f(Number<RELU6>{});
    case SILU: return f(Number<SILU>{});
    case HARD_SWISH: return f(Number<HARD_SWISH>{});
    default: return f(Number<NONE>{});
  }
}

template <class F>
void with_kernel(int kernel, int stride, F f) {
  if (kernel == 3 && stride == 1) return f(Number<3>{}, Number<1>{});
  if (kernel == 3) return f(Number<3>{}, Number<2>{});
  if (stride == 1) return f(Number<5>{}, Number<1>{});
  return f(Number<5>{}, Number<2>{});
}

template <class F>
void with_type(int half, F f) {
  if (half) return f(Half{});
  return f(float{});
}

}  // namespace

extern "C" {

void eyas_image_sums(int half, const void* x, float* sums, Index n, Index places, Index c) {
  with_type(half, [&](auto type) {
    auto from = (const decltype(type)*)x;
    image_sums(sums, n, places, c, [=](Index at, Index, auto& s, auto&) { s += load<sizeof(s) / sizeof(float)>(from + at); });
  });
}

void eyas_image_products(int half, const void* x, const void* dy, float* sums, Index n, Index places, Index c) {
  with_type(half, [&](auto type) {
    auto from = (const decltype(type)*)x, with = (const decltype(type)*)dy;
    image_sums(sums, n, places, c, [=](Index at, Index, auto& s, auto&) {
      constexpr int N = sizeof(s) / sizeof(float);
      s += load<N>(from + at) * load<N>(with + at);
    });
  });
}

void eyas_scaled(int half, const void* x, const float* times, const float* plus, void* y, Index n, Index places, Index c) {
  with_type(half, [&](auto type) {
    using T = decltype(type);
    scaled((const T*)x, times, plus, (T*)y, n, places, c);
  });
}

void eyas_norm_forward(int half, const void* x, void* y, Index m, Index c, const Norm* norm, int activation) {
  with_type(half, [&](auto type) {
    using T = decltype(type);
    statistics((const T*)x, m, c, *norm);
    with_activation(activation, [&](auto a) { apply<T, a()>((const T*)x, (T*)y, m, c, *norm); });
  });
}

void eyas_norm_backward(int half, const void* x, const void* dy, void* dx, Index m, Index c, const Norm* norm, int activation,
                        float* dgamma, float* dbeta) {
  with_type(half, [&](auto type) {
    using T = decltype(type);
    with_activation(activation, [&](auto a) { norm_backward<T, a()>((const T*)x, (const T*)dy, (T*)dx, m, c, *norm, dgamma, dbeta); });
  });
}

void eyas_depthwise_forward(int half, const void* x, const float* taps, void* z, void* y, const Shape* shape, int kernel, int stride,
                            const Norm* norm, int activation) {
  with_type(half, [&](auto type) {
    using T = decltype(type);
    with_kernel(kernel, stride, [&](auto k, auto s) { depthwise<T, k(), s()>((const T*)x, taps, (T*)z, *shape, *norm); });
    Index m = shape->n * shape->oh * shape->ow;
    with_activation(activation, [&](auto a) { apply<T, a()>((const T*)z, (T*)y, m, shape->c, *norm); });
  });
}

void eyas_depthwise_backward(int half, const void* x, const float* taps, const void* z, const void* dy, void* dx, float* dtaps,
                             const Shape* shape, int kernel, int stride, const Norm* norm, int activation, float* dgamma, float* dbeta) {
  with_type(half, [&](auto type) {
    using T = decltype(type);
    Index m = shape->n * shape->oh * shape->ow, c = shape->c;
    with_activation(activation, [&](auto a) {
      Slopes slopes = slopes_of<T, a()>((const T*)z, (const T*)dy, m, c, *norm, dgamma, dbeta);
      Back<T> back{back_row<T, a(), 16>, back_row<T, a(), 8>};
      with_kernel(kernel, stride, [&](auto k, auto s) {
        depthwise_backward<T, k(), s()>((const T*)x, taps, (const T*)z, (const T*)dy, (T*)dx, dtaps, *shape, slopes, back);
      });
    });
  });
}
}
