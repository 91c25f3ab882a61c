// Images resized, cropped, measured and changed, byte by byte what torch and numpy compute in resize.py, quality.py, augment.py
// and randaugment.py, with each image staying in the cache from one operation to the next. pixels.py compiles it on the machine
// where it runs and says what each function takes. Images lie row by row, their channels (1 or 3) beside each other. Floats must not be contracted: a product that is
// not rounded before it is added gives other bytes.
#include "look.h"
#include "resample.h"

namespace {

constexpr Byte FILL = 128;

// Changes. Each takes an image in place; `other` has room for one, and `numbers` say how.

struct Image {
  Byte* at;
  Index height, width, channels;
  Byte* other;

  Index row() const { return width * channels; }
  Index size() const { return height * row(); }
};

inline Byte blended(float plain, float value, float factor) {
  return (Byte)std::min(std::max((value - plain) * factor + plain, 0.0f), 255.0f);
}

void autocontrast(const Image& image) {
  const Index row = image.row();
  Bytes extremes(2 * row);
  std::vector<float> numbers(2 * row);
  Byte *__restrict least = extremes.data(), *__restrict most = least + row;
  float *__restrict low = numbers.data(), *__restrict scale = low + row;
  std::memcpy(least, image.at, row);
  std::memcpy(most, image.at, row);
  for (Index y = 1; y < image.height; ++y) {
    const Byte* __restrict own = image.at + y * row;
    for (Index x = 0; x < row; ++x) least[x] = std::min(least[x], own[x]);
    for (Index x = 0; x < row; ++x) most[x] = std::max(most[x], own[x]);
  }
  for (Index channel = 0; channel < image.channels; ++channel) {
    Byte from = 255, to = 0;
    for (Index x = channel; x < row; x += image.channels) {
      from = std::min(from, least[x]);
      to = std::max(to, most[x]);
    }
    if (to <= from) from = 0, to = 255;
    for (Index x = channel; x < row; x += image.channels) {
      low[x] = from;
      scale[x] = 255.0f / ((float)to - (float)from);
    }
  }
  for (Index y = 0; y < image.height; ++y) {
    Byte* __restrict own = image.at + y * row;
    for (Index x = 0; x < row; ++x) own[x] = (Byte)(((float)own[x] - low[x]) * scale[x] + 0.001f);
  }
}

void equalize(const Image& image) {
  for (Index channel = 0; channel < image.channels; ++channel) {
    Byte* own = image.at + channel;
    const Index step_over = image.channels, size = image.size() - channel;
    long counts[2][256] = {};  // two, as equal pixels beside each other would wait for one
    Index i = 0;
    for (; i + step_over < size; i += 2 * step_over) {
      ++counts[0][own[i]];
      ++counts[1][own[i + step_over]];
    }
    if (i < size) ++counts[0][own[i]];
    long total = 0, last = 0;
    for (int level = 0; level < 256; ++level) {
      const long count = counts[0][level] + counts[1][level];
      total += count;
      if (count) last = count;
    }
    const long step = (total - last) / 255;
    if (step == 0) continue;
    Byte table[256];
    long below = 0;
    for (int level = 0; level < 256; ++level) {
      table[level] = (Byte)std::min((step / 2 + below) / step, 255L);
      below += counts[0][level] + counts[1][level];
    }
    for (i = 0; i < size; i += step_over) own[i] = table[own[i]];
  }
}

// Each value to another one that depends on nothing else.
template <class To>
inline void each(const Image& image, To to) {
  Byte* const at = image.at;
  const Index size = image.size();
  for (Index i = 0; i < size; ++i) at[i] = to(at[i]);
}

void brightness(const Image& image, float factor) {
  each(image, [=](Byte value) { return (Byte)std::min((float)value * factor, 255.0f); });
}

void contrast(const Image& image, float factor) {
  const Byte* const at = image.at;
  const Index pixels = image.height * image.width;
  long sum = 0;
  for (Index y = 0; y < image.height; ++y) {
    const Byte* row = at + y * image.row();
    int own = 0;
    for (Index x = 0, width = image.width; x < width; ++x) own += image.channels == 1 ? row[x] : grey(row + 3 * x);
    sum += own;
  }
  const float mean = (float)std::floor((double)sum / pixels + 0.5);
  each(image, [=](Byte value) { return blended(mean, value, factor); });
}

void color(const Image& image, float factor) {
  if (image.channels == 1) return;
  std::vector<float> greys(image.row());
  float* __restrict plain = greys.data();
  const Index width = image.width;
  for (Index y = 0; y < image.height; ++y) {
    Byte* __restrict row = image.at + y * 3 * width;
    for (Index x = 0; x < width; ++x) plain[3 * x] = plain[3 * x + 1] = plain[3 * x + 2] = (float)grey(row + 3 * x);
    for (Index x = 0; x < 3 * width; ++x) row[x] = blended(plain[x], row[x], factor);
  }
}

// A row between its smoothed self (3 x 3, the middle counts 5) and sharper than it is, but for its ends.
void sharpen(const Byte* __restrict above, const Byte* __restrict middle, const Byte* __restrict under, Byte* __restrict to,
             int* __restrict columns, Index row, Index step, float factor) {
  for (Index x = 0; x < row; ++x) columns[x] = above[x] + middle[x] + under[x];
  for (Index x = step; x < row - step; ++x) {
    const int sum = columns[x - step] + columns[x] + columns[x + step] + 4 * middle[x];
    to[x] = blended((float)(int)((float)sum / 13.0f + 0.5f), middle[x], factor);
  }
}

void sharpness(const Image& image, float factor) {
  const Index row = image.row();
  std::memcpy(image.other, image.at, image.size());
  std::vector<int> columns(row);
  for (Index y = 1; y + 1 < image.height; ++y) {
    const Byte* own = image.other + y * row;
    sharpen(own - row, own, own + row, image.at + y * row, columns.data(), row, image.channels, factor);
  }
}

// Each pixel takes the value of the one at (ax + by + c, dx + ey + f), of middles of pixels, or FILL.
void warp(const Image& image, const double* m) {
  std::memcpy(image.other, image.at, image.size());
  std::vector<int> sources(image.width);  // -1: outside
  for (Index y = 0; y < image.height; ++y) {
    const double across = m[1] * (y + 0.5), down = m[4] * (y + 0.5);
    for (Index x = 0; x < image.width; ++x) {
      const double column = std::floor(m[0] * (x + 0.5) + across + m[2]), row = std::floor(m[3] * (x + 0.5) + down + m[5]);
      const bool inside = column >= 0 && column < image.width && row >= 0 && row < image.height;
      sources[x] = inside ? (int)row * (int)image.width + (int)column : -1;
    }
    Byte* to = image.at + y * image.row();
    if (image.channels == 1) {
      for (Index x = 0; x < image.width; ++x) to[x] = sources[x] < 0 ? FILL : image.other[sources[x]];
      continue;
    }
    for (Index x = 0; x < image.width; ++x, to += 3) {
      if (sources[x] < 0)
        std::memset(to, FILL, 3);
      else
        std::memcpy(to, image.other + 3 * (Index)sources[x], 3);
    }
  }
}

// Pixels from (left, top) up to (right, bottom).
void fill(const Image& image, const double* edges) {
  const Index left = std::max((Index)edges[0], 0L), right = std::min((Index)edges[2], image.width);
  const Index top = std::max((Index)edges[1], 0L), bottom = std::min((Index)edges[3], image.height);
  if (left >= right) return;
  for (Index y = top; y < bottom; ++y)
    std::memset(image.at + y * image.row() + left * image.channels, FILL, (right - left) * image.channels);
}

void mirror(const Image& image) {
  for (Index y = 0; y < image.height; ++y) {
    Byte *first = image.at + y * image.row(), *last = first + image.row() - image.channels;
    for (; first < last; first += image.channels, last -= image.channels)
      for (Index channel = 0; channel < image.channels; ++channel) std::swap(first[channel], last[channel]);
  }
}

void turn_over(const Image& image) {
  for (Index y = 0; y < image.height / 2; ++y) {
    Byte* first = image.at + y * image.row();
    std::swap_ranges(first, first + image.row(), image.at + (image.height - 1 - y) * image.row());
  }
}

enum Kind : int32_t {  // as pixels.py numbers them
  NONE, AUTOCONTRAST, EQUALIZE, SOLARIZE, SOLARIZE_ADD, POSTERIZE, INVERT, BRIGHTNESS, CONTRAST, COLOR, SHARPNESS, WARP, BOX,
  MIRROR, TURN_OVER,
};

void change(const Image& image, int32_t kind, const double* numbers) {
  const int first = (int)numbers[0];
  switch (kind) {
    case AUTOCONTRAST: return autocontrast(image);
    case EQUALIZE: return equalize(image);
    case SOLARIZE: return each(image, [=](Byte value) { return value < first ? value : (Byte)~value; });
    case SOLARIZE_ADD: return each(image, [=](Byte value) { return value < 128 ? (Byte)std::min(value + first, 255) : value; });
    case POSTERIZE: return each(image, [=](Byte value) { return (Byte)(value & first); });
    case INVERT: return each(image, [](Byte value) { return (Byte)~value; });
    case BRIGHTNESS: return brightness(image, (float)numbers[0]);
    case CONTRAST: return contrast(image, (float)numbers[0]);
    case COLOR: return color(image, (float)numbers[0]);
    case SHARPNESS: return sharpness(image, (float)numbers[0]);
    case WARP: return warp(image, numbers);
    case BOX: return fill(image, numbers);
    case MIRROR: return mirror(image);
    case TURN_OVER: return turn_over(image);
    default: return;
  }
}

// 0, or 1 where there was not the memory: an exception may not leave for Python.
template <class Work>
int done(Work work) {
  try {
    work();
    return 0;
  } catch (...) {
    return 1;
  }
}

}  // namespace

extern "C" {

// A box of each image at side x side. A grey one among others gets as many equal channels as they have.
int eyas_crops(Index count, const Byte* const* images, const int64_t* shapes, const int32_t* boxes, Byte* out, int side,
               int channels) {
  return done([&] {
    Bytes single;
    for (Index i = 0; i < count; ++i) {
      const Index width = shapes[3 * i + 1];
      const int own = (int)shapes[3 * i + 2];
      Byte* to = out + i * side * side * channels;
      if (own == channels) {
        resize<Bilinear>(images[i], width * own, own, boxes + 4 * i, to, side, side);
        continue;
      }
      single.resize((size_t)side * side);
      resize<Bilinear>(images[i], width, 1, boxes + 4 * i, single.data(), side, side);
      for (Index pixel = 0; pixel < (Index)side * side; ++pixel) std::memset(to + pixel * channels, single[pixel], channels);
    }
  });
}

// An image at another size.
int eyas_resize(const Byte* image, Index height, Index width, Index channels, Byte* out, int high, int wide) {
  return done([&] {
    const int box[] = {0, 0, (int)width, (int)height};
    resize<Bicubic>(image, width * channels, (int)channels, box, out, wide, high);
  });
}

// What an image looks like at high x wide pixels: its grey self at side x side, and six numbers.
int eyas_look(const Byte* image, Index height, Index width, Index channels, int high, int wide, int side, int black, int white,
              Byte* thumbnail, int64_t* numbers) {
  return done([&] {
    const int box[] = {0, 0, (int)width, (int)height}, whole[] = {0, 0, wide, high}, own = (int)channels;
    const Index pixels = (Index)high * wide;
    Room small(new Byte[pixels * own]), square(new Byte[(Index)side * side * own]), levels(new Byte[pixels]);
    resize<Bicubic>(image, width * channels, own, box, small.get(), wide, high);
    resize<Bicubic>(small.get(), (Index)wide * own, own, whole, square.get(), side, side);
    to_grey(square.get(), own, thumbnail, (Index)side * side);
    to_grey(small.get(), own, levels.get(), pixels);
    std::fill(numbers, numbers + 6, 0);
    tally(levels.get(), pixels, black, white, numbers);
    laplacian(levels.get(), high, wide, numbers + 4);
  });
}

// `turns` changes of each image, in their order: their kinds [count, turns] and numbers [count, turns, 6].
int eyas_change(Byte* images, Index count, Index height, Index width, Index channels, const int32_t* kinds,
                const double* numbers, Index turns) {
  return done([&] {
    Bytes other((size_t)(height * width * channels));
    for (Index i = 0; i < count; ++i) {
      const Image image{images + i * height * width * channels, height, width, channels, other.data()};
      for (Index turn = i * turns; turn < (i + 1) * turns; ++turn) change(image, kinds[turn], numbers + 6 * turn);
    }
  });
}
}
