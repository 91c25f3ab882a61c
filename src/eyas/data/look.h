// How a picture looks, in whole numbers, as quality.py counts them.
#pragma once
#include "resample.h"

namespace {

// Luminance in whole levels (ITU-R 601-2).
inline int grey(const Byte* pixel) { return (19595 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2] + 32768) >> 16; }

void to_grey(const Byte* __restrict pixels, int channels, Byte* __restrict to, Index count) {
  if (channels == 1)
    std::memcpy(to, pixels, count);
  else
    for (Index i = 0; i < count; ++i) to[i] = (Byte)grey(pixels + 3 * i);
}

// The levels, their squares, how many are at most `black` or at least `white`.
void tally(const Byte* levels, Index count, int black, int white, int64_t* numbers) {
  constexpr Index SOME = 1 << 14;  // of which 32 bits hold the sums
  for (Index start = 0; start < count; start += SOME) {
    int sum = 0, squares = 0, dark = 0, light = 0;
    for (Index i = start, end = std::min(start + SOME, count); i < end; ++i) {
      const int level = levels[i];
      sum += level;
      squares += level * level;
      dark += level <= black;
      light += level >= white;
    }
    numbers[0] += sum;
    numbers[1] += squares;
    numbers[2] += dark;
    numbers[3] += light;
  }
}

// The Laplacian of all pixels but those at the edge, and its squares.
void laplacian(const Byte* levels, Index height, Index width, int64_t* numbers) {
  for (Index y = 1; y + 1 < height; ++y) {
    const Byte *own = levels + y * width, *above = own - width, *under = own + width;
    for (Index start = 1; start + 1 < width; start += 1024) {  // of so many, 32 bits hold the squares
      int sum = 0, squares = 0;
      for (Index x = start, end = std::min(start + 1024, width - 1); x < end; ++x) {
        const int value = above[x] + under[x] + own[x - 1] + own[x + 1] - 4 * own[x];
        sum += value;
        squares += value * value;
      }
      numbers[0] += sum;
      numbers[1] += squares;
    }
  }
}

}  // namespace
