// Batch normalisation with its activation, alone and behind a depthwise convolution: forward and backward in as few
// passes over memory as they need. float32, channels last. Called from ../fused_block.py.
//
// Sums over a batch are taken in float over at most 128 rows, then in double. Work is shared out by thread number, so
// that an equal count of threads gives equal bits.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

using Index = long;
typedef float Lanes16 __attribute__((vector_size(64)));
typedef float Lanes8 __attribute__((vector_size(32)));

enum Activation { NONE, RELU, RELU6, SILU, HARD_SWISH };
constexpr Index BLOCK = 128;  // rows that are summed in float

template <int A>
inline float activate(float z) {
  if constexpr (A == RELU) return z > 0 ? z : 0;
  if constexpr (A == RELU6) return std::min(std::max(z, 0.0f), 6.0f);
  if constexpr (A == SILU) return z / (1 + std::exp(-z));
  if constexpr (A == HARD_SWISH) return z * std::min(std::max(z + 3, 0.0f), 6.0f) * (1.0f / 6);
  return z;
}

template <int A>
inline float slope(float z) {
  if constexpr (A == RELU) return z > 0 ? 1 : 0;
  if constexpr (A == RELU6) return z > 0 && z < 6 ? 1 : 0;
  if constexpr (A == SILU) {
    float s = 1 / (1 + std::exp(-z));
    return s * (1 + z * (1 - s));
  }
  if constexpr (A == HARD_SWISH) return z <= -3 ? 0 : z >= 3 ? 1 : z * (1.0f / 3) + 0.5f;
  return 1;
}

struct Share {  // of `all` things, for this thread
  Index first, last;
  explicit Share(Index all) {
    Index thread = omp_get_thread_num(), threads = omp_get_num_threads();
    first = all * thread / threads;
    last = all * (thread + 1) / threads;
  }
};

// Two sums a channel, of all threads.
struct Sums {
  Index channels;
  std::vector<std::vector<double>> of_thread;
  explicit Sums(Index c) : channels(c), of_thread(omp_get_max_threads()) {}
  std::vector<double>& mine() {
    auto& found = of_thread[omp_get_thread_num()];
    found.assign(2 * channels, 0.0);
    return found;
  }
  std::vector<double> total() const {
    std::vector<double> all(2 * channels, 0.0);
    for (auto& each : of_thread)
      for (size_t i = 0; i < each.size(); i++) all[i] += each[i];
    return all;
  }
};

// Few channels: several rows are worked on as one wide one, so that vectors are full.
struct Wide {
  Index rows, width, times;
  Wide(Index m, Index c) {
    times = c >= 64 ? 1 : 64 / c;
    while (m % times) times--;
    rows = m / times;
    width = c * times;
  }
  std::vector<float> repeated(const float* values, Index c) const {
    std::vector<float> wide(width);
    for (Index i = 0; i < width; i++) wide[i] = values[i % c];
    return wide;
  }
};

void add_to(std::vector<double>& sums, std::vector<float>& first, std::vector<float>& second, Index channels) {
  for (size_t i = 0; i < first.size(); i++) {
    sums[i % channels] += first[i];
    sums[channels + i % channels] += second[i];
  }
  std::fill(first.begin(), first.end(), 0.0f);
  std::fill(second.begin(), second.end(), 0.0f);
}

// Of each channel: scale and shift that normalise, from the sums of x and of x squared; running statistics move.
struct Norm {
  const float *gamma, *beta;
  float eps, momentum;
  float *running_mean, *running_var, *mean, *inverse;  // the last two are kept for the backward pass
  void settle(const std::vector<double>& sums, Index m, Index c, std::vector<float>& scale, std::vector<float>& shift) const {
    for (Index i = 0; i < c; i++) {
      double average = sums[i] / m, variance = std::max(0.0, sums[c + i] / m - average * average);
      mean[i] = average;
      inverse[i] = 1 / std::sqrt(variance + eps);
      running_mean[i] += momentum * (float(average) - running_mean[i]);
      running_var[i] += momentum * (float(variance * m / std::max<Index>(m - 1, 1)) - running_var[i]);
      scale[i] = gamma[i] * inverse[i];
      shift[i] = beta[i] - mean[i] * scale[i];
    }
  }
};

template <int A>
void apply(const float* x, float* y, Index m, Index c, const std::vector<float>& scale, const std::vector<float>& shift) {
  Wide wide(m, c);
  auto a = wide.repeated(scale.data(), c), b = wide.repeated(shift.data(), c);
#pragma omp parallel
  {
    Share share(wide.rows);
    const float *pa = a.data(), *pb = b.data();
    for (Index row = share.first; row < share.last; row++) {
      const float* from = x + row * wide.width;
      float* to = y + row * wide.width;
#pragma omp simd
      for (Index i = 0; i < wide.width; i++) to[i] = activate<A>(from[i] * pa[i] + pb[i]);
    }
  }
}

template <int A>
void norm_forward(const float* x, float* y, Index m, Index c, const Norm& norm) {
  Sums sums(c);
  Wide wide(m, c);
#pragma omp parallel
  {
    auto& mine = sums.mine();
    std::vector<float> first(wide.width), second(wide.width);
    float *s = first.data(), *q = second.data();
    Share share(wide.rows);
    for (Index begin = share.first; begin < share.last; begin += BLOCK) {
      Index end = std::min(begin + BLOCK, share.last), row = begin, w = wide.width;
      for (; row + 4 <= end; row += 4) {
        const float* p = x + row * w;
#pragma omp simd
        for (Index i = 0; i < w; i++) {
          float x0 = p[i], x1 = p[w + i], x2 = p[2 * w + i], x3 = p[3 * w + i];
          s[i] += (x0 + x1) + (x2 + x3);
          q[i] += (x0 * x0 + x1 * x1) + (x2 * x2 + x3 * x3);
        }
      }
      for (; row < end; row++) {
        const float* p = x + row * w;
#pragma omp simd
        for (Index i = 0; i < w; i++) s[i] += p[i], q[i] += p[i] * p[i];
      }
      add_to(mine, first, second, c);
    }
  }
  std::vector<float> scale(c), shift(c);
  norm.settle(sums.total(), m, c, scale, shift);
  apply<A>(x, y, m, c, scale, shift);
}

// What the backward pass needs of each channel.
struct Slopes {
  std::vector<float> scale, shift, mean, inverse, average, share;  // the last two: of g, and of g times normalised x
  Slopes(const Norm& n, Index c) : scale(c), shift(c), mean(n.mean, n.mean + c), inverse(n.inverse, n.inverse + c), average(c), share(c) {
    for (Index i = 0; i < c; i++) {
      scale[i] = n.gamma[i] * n.inverse[i];
      shift[i] = n.beta[i] - n.mean[i] * scale[i];
    }
  }
};

// Gradients of gamma and beta, and with them what the gradient of x needs.
template <int A>
Slopes norm_slopes(const float* x, const float* dy, Index m, Index c, const Norm& norm, float* dgamma, float* dbeta) {
  Slopes slopes(norm, c);
  Sums sums(c);
  Wide wide(m, c);
  auto scale = wide.repeated(slopes.scale.data(), c), shift = wide.repeated(slopes.shift.data(), c);
  auto mean = wide.repeated(slopes.mean.data(), c);
#pragma omp parallel
  {
    auto& mine = sums.mine();
    std::vector<float> first(wide.width), second(wide.width);
    float *s = first.data(), *q = second.data();
    const float *pa = scale.data(), *pb = shift.data(), *pm = mean.data();
    Share share(wide.rows);
    for (Index begin = share.first; begin < share.last; begin += BLOCK) {
      Index end = std::min(begin + BLOCK, share.last), row = begin, w = wide.width;
      for (; row + 2 <= end; row += 2) {
        const float *p = x + row * w, *d = dy + row * w;
#pragma omp simd
        for (Index i = 0; i < w; i++) {
          float g0 = d[i] * slope<A>(p[i] * pa[i] + pb[i]), g1 = d[w + i] * slope<A>(p[w + i] * pa[i] + pb[i]);
          s[i] += g0 + g1;
          q[i] += g0 * (p[i] - pm[i]) + g1 * (p[w + i] - pm[i]);
        }
      }
      for (; row < end; row++) {
        const float *p = x + row * w, *d = dy + row * w;
#pragma omp simd
        for (Index i = 0; i < w; i++) {
          float g = d[i] * slope<A>(p[i] * pa[i] + pb[i]);
          s[i] += g;
          q[i] += g * (p[i] - pm[i]);
        }
      }
      add_to(mine, first, second, c);
    }
  }
  auto total = sums.total();
  for (Index i = 0; i < c; i++) {
    dbeta[i] = total[i];
    dgamma[i] = total[c + i] * norm.inverse[i];
    slopes.average[i] = total[i] / m;
    slopes.share[i] = total[c + i] / m * norm.inverse[i] * norm.inverse[i];
  }
  return slopes;
}

template <int A>
inline void gradient(const float* p, const float* d, float* to, Index w, const float* a, const float* b, const float* mean,
                     const float* average, const float* share) {
#pragma omp simd
  for (Index i = 0; i < w; i++) {
    float g = d[i] * slope<A>(p[i] * a[i] + b[i]);
    to[i] = a[i] * (g - average[i] - (p[i] - mean[i]) * share[i]);
  }
}

template <int A>
void norm_backward(const float* x, const float* dy, float* dx, Index m, Index c, const Norm& norm, float* dgamma, float* dbeta) {
  Slopes slopes = norm_slopes<A>(x, dy, m, c, norm, dgamma, dbeta);
  Wide wide(m, c);
  auto a = wide.repeated(slopes.scale.data(), c), b = wide.repeated(slopes.shift.data(), c);
  auto mean = wide.repeated(slopes.mean.data(), c), average = wide.repeated(slopes.average.data(), c);
  auto part = wide.repeated(slopes.share.data(), c);
#pragma omp parallel
  {
    Share share(wide.rows);
    for (Index row = share.last - 1; row >= share.first; row--)  // backwards: the end was read last and is still near
      gradient<A>(x + row * wide.width, dy + row * wide.width, dx + row * wide.width, wide.width, a.data(), b.data(), mean.data(),
                  average.data(), part.data());
  }
}

struct Shape {
  Index n, c, h, w, oh, ow, top, left;  // images, channels, sides in and out, padding
};

template <class V>
inline V load(const float* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class V>
inline void store(float* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

// One row of outputs of the channels from c0, and what it adds to the sums.
template <class V, int K, int S>
inline void convolve(const float* x, const float* weight, float* z, const Shape& f, Index n, Index oy, Index c0, float* s, float* q) {
  V sum = load<V>(s + c0), square = load<V>(q + c0);
  for (Index ox = 0; ox < f.ow; ox++) {
    V value{};
#pragma GCC unroll 5
    for (int ky = 0; ky < K; ky++) {
      Index iy = oy * S - f.top + ky;
      if (iy < 0 || iy >= f.h) continue;
      const float* row = x + ((n * f.h + iy) * f.w) * f.c + c0;
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++) {
        Index ix = ox * S - f.left + kx;
        if (ix < 0 || ix >= f.w) continue;
        value += load<V>(row + ix * f.c) * load<V>(weight + (ky * K + kx) * f.c + c0);
      }
    }
    store(z + ((n * f.oh + oy) * f.ow + ox) * f.c + c0, value);
    sum += value;
    square += value * value;
  }
  store(s + c0, sum);
  store(q + c0, square);
}

template <int K, int S>
std::vector<double> depthwise(const float* x, const float* weight, float* z, const Shape& f) {
  Sums sums(f.c);
#pragma omp parallel
  {
    auto& mine = sums.mine();
    std::vector<float> first(f.c), second(f.c);
    float *s = first.data(), *q = second.data();
    Share share(f.n * f.oh);
    for (Index row = share.first; row < share.last; row++) {
      Index n = row / f.oh, oy = row % f.oh, c = 0;
      for (; c + 16 <= f.c; c += 16) convolve<Lanes16, K, S>(x, weight, z, f, n, oy, c, s, q);
      for (; c + 8 <= f.c; c += 8) convolve<Lanes8, K, S>(x, weight, z, f, n, oy, c, s, q);
      for (; c < f.c; c++) convolve<float, K, S>(x, weight, z, f, n, oy, c, s, q);
      add_to(mine, first, second, f.c);
    }
  }
  return sums.total();
}

// One row of the input's gradient of the channels from c0, and what it adds to the kernel's. `rows[ky]`: the gradients
// of the outputs that tap ky brought this row into, K zeros on either side; null where there are none.
template <class V, int K, int S>
inline void scatter(const float* x, const float* weight, float* dx, const Shape& f, const float* const* rows, Index c0, float* dw) {
  V tap[K * K], sum[K * K];
  for (int i = 0; i < K * K; i++) tap[i] = load<V>(weight + i * f.c + c0), sum[i] = load<V>(dw + i * f.c + c0);
  for (Index ix = 0; ix < f.w; ix++) {
    V value{}, here = load<V>(x + ix * f.c + c0);
#pragma GCC unroll 5
    for (int ky = 0; ky < K; ky++) {
      if (!rows[ky]) continue;
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++) {
        Index reach = ix + f.left - kx;
        if (S == 2 && (reach & 1)) continue;
        Index ox = S == 2 ? reach >> 1 : reach;
        V g = load<V>(rows[ky] + (ox + K) * f.c + c0);
        value += g * tap[ky * K + kx];
        sum[ky * K + kx] += g * here;
      }
    }
    store(dx + ix * f.c + c0, value);
  }
  for (int i = 0; i < K * K; i++) store(dw + i * f.c + c0, sum[i]);
}

template <int A, int K, int S>
void depthwise_backward(const float* x, const float* weight, const float* z, const float* dy, float* dx, float* dweight, const Shape& f,
                        const Norm& norm, float* dgamma, float* dbeta) {
  Slopes slopes = norm_slopes<A>(z, dy, f.n * f.oh * f.ow, f.c, norm, dgamma, dbeta);
  Index long_row = (f.ow + 2 * K) * f.c, kernel = K * K * f.c;
  std::vector<std::vector<double>> of_thread(omp_get_max_threads());
#pragma omp parallel
  {
    auto& mine = of_thread[omp_get_thread_num()];
    mine.assign(kernel, 0.0);
    std::vector<float> ring(K * long_row), part(kernel);
    Share share(f.n);
    for (Index n = share.first; n < share.last; n++) {
      Index known = 0;  // rows of dz that were computed; the last K are in the ring
      for (Index iy = 0; iy < f.h; iy++) {
        for (; known < f.oh && known * S - f.top <= iy; known++) {
          float* to = ring.data() + (known % K) * long_row + K * f.c;
          for (Index ox = 0; ox < f.ow; ox++) {
            Index here = ((n * f.oh + known) * f.ow + ox) * f.c;
            gradient<A>(z + here, dy + here, to + ox * f.c, f.c, slopes.scale.data(), slopes.shift.data(), slopes.mean.data(),
                        slopes.average.data(), slopes.share.data());
          }
        }
        const float* rows[K];
        for (int ky = 0; ky < K; ky++) {
          Index reach = iy + f.top - ky, oy = reach / S;
          bool there = reach >= 0 && reach % S == 0 && oy < f.oh;
          rows[ky] = there ? ring.data() + (oy % K) * long_row : nullptr;
        }
        const float* from = x + (n * f.h + iy) * f.w * f.c;
        float* to = dx + (n * f.h + iy) * f.w * f.c;
        Index c = 0;
        for (; c + 16 <= f.c; c += 16) scatter<Lanes16, K, S>(from, weight, to, f, rows, c, part.data());
        for (; c + 8 <= f.c; c += 8) scatter<Lanes8, K, S>(from, weight, to, f, rows, c, part.data());
        for (; c < f.c; c++) scatter<float, K, S>(from, weight, to, f, rows, c, part.data());
      }
      for (Index i = 0; i < kernel; i++) mine[i] += part[i], part[i] = 0;
    }
  }
  for (Index i = 0; i < kernel; i++) {
    double total = 0;
    for (auto& each : of_thread)
      if (!each.empty()) total += each[i];
    dweight[i] = total;
  }
}

template <class F>
void with_activation(int a, F f) {
  switch (a) {
    case RELU: return f(std::integral_constant<int, RELU>{});
    case RELU6: return f(std::integral_constant<int, RELU6>{});
    case SILU: return f(std::integral_constant<int, SILU>{});
    case HARD_SWISH: return f(std::integral_constant<int, HARD_SWISH>{});
    default: return f(std::integral_constant<int, NONE>{});
  }
}

template <class F>
void with_kernel(int kernel, int stride, F f) {
  using std::integral_constant;
  if (kernel == 3 && stride == 1) return f(integral_constant<int, 3>{}, integral_constant<int, 1>{});
  if (kernel == 3) return f(integral_constant<int, 3>{}, integral_constant<int, 2>{});
  if (stride == 1) return f(integral_constant<int, 5>{}, integral_constant<int, 1>{});
  return f(integral_constant<int, 5>{}, integral_constant<int, 2>{});
}

}  // namespace

extern "C" {

void eyas_norm_forward(const float* x, float* y, Index m, Index c, const Norm* norm, int activation) {
  with_activation(activation, [&](auto a) { norm_forward<a()>(x, y, m, c, *norm); });
}

void eyas_norm_backward(const float* x, const float* dy, float* dx, Index m, Index c, const Norm* norm, int activation, float* dgamma,
                        float* dbeta) {
  with_activation(activation, [&](auto a) { norm_backward<a()>(x, dy, dx, m, c, *norm, dgamma, dbeta); });
}

void eyas_depthwise_forward(const float* x, const float* weight, float* z, float* y, const Shape* shape, int kernel, int stride,
                            const Norm* norm, int activation) {
  Index m = shape->n * shape->oh * shape->ow, c = shape->c;
  std::vector<double> sums;
  with_kernel(kernel, stride, [&](auto k, auto s) { sums = depthwise<k(), s()>(x, weight, z, *shape); });
  std::vector<float> scale(c), shift(c);
  norm->settle(sums, m, c, scale, shift);
  with_activation(activation, [&](auto a) { apply<a()>(z, y, m, c, scale, shift); });
}

void eyas_depthwise_backward(const float* x, const float* weight, const float* z, const float* dy, float* dx, float* dweight,
                             const Shape* shape, int kernel, int stride, const Norm* norm, int activation, float* dgamma, float* dbeta) {
  with_activation(activation, [&](auto a) {
    with_kernel(kernel, stride, [&](auto k, auto s) {
      depthwise_backward<a(), k(), s()>(x, weight, z, dy, dx, dweight, *shape, *norm, dgamma, dbeta);
    });
  });
}
}
