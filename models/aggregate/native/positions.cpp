// Kernels of their own at every position. V is that many positions or groups side by side; the
// channels of a group are `depth` steps of `xstep` or `ystep` apart and share its weights.

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

struct Taps {
  long count, weights[15 * 15], sources[15 * 15];  // where the weight and the neighbour of each are
};

template <class V, int J>
inline void sum(const float* x, const float* w, float* y, const Taps& taps, long xstep, long ystep) {
  V sums[J] = {};
  for (long t = 0; t < taps.count; t++) {
    V weight = load<V>(w + taps.weights[t]);
    for (int j = 0; j < J; j++) sums[j] += weight * load<V>(x + taps.sources[t] + j * xstep);
  }
  for (int j = 0; j < J; j++) store(y + j * ystep, sums[j]);
}

// Four channels at once share a load of the weight, and do not wait for each other's sums.
template <class V>
inline void sums(const float* x, const float* w, float* y, const Taps& taps, long depth, long xstep,
                 long ystep) {
  long j = 0;
  for (; j + 4 <= depth; j += 4) sum<V, 4>(x + j * xstep, w, y + j * ystep, taps, xstep, ystep);
  if (depth - j == 3) {
    sum<V, 3>(x + j * xstep, w, y + j * ystep, taps, xstep, ystep);
  } else {
    for (; j < depth; j++) sum<V, 1>(x + j * xstep, w, y + j * ystep, taps, xstep, ystep);
  }
}

// Adds to dx; writes dw, or adds to it where images share weights.
template <class V>
inline void gradients(const float* x, const float* w, const float* dy, float* dx, float* dw,
                      const Taps& taps, long depth, long xstep, long ystep, bool add) {
  for (long t = 0; t < taps.count; t++) {
    V weight = load<V>(w + taps.weights[t]);
    V total = add ? load<V>(dw + taps.weights[t]) : V{};
    for (long j = 0; j < depth; j++) {
      V gradient = load<V>(dy + j * ystep);
      float* to = dx + taps.sources[t] + j * xstep;
      total += gradient * load<V>(x + taps.sources[t] + j * xstep);
      store(to, load<V>(to) + weight * gradient);
    }
    store(dw + taps.weights[t], total);
  }
}

// Weights written out: x and y are (N, G, D, H, W), w is (N or 1, G, K*K, H, W). The maps of a group
// are copied between zeros, so that every position has all taps.
struct Windows {
  long images, groups, depth, height, width, size, shared;

  long wide() const { return width + size - 1; }
  long padded() const { return wide() * (height + size - 1); }
};

void pad(const float* maps, float* out, Windows m) {
  std::fill_n(out, m.depth * m.padded(), 0.f);
  for (long d = 0; d < m.depth; d++)
    for (long row = 0; row < m.height; row++)
      std::memcpy(out + d * m.padded() + (row + m.size / 2) * m.wide() + m.size / 2,
                  maps + (d * m.height + row) * m.width, m.width * sizeof(float));
}

// Calls use(group, offset of the map, offset of the weights, taps) for every group of every image.
// Neighbouring taps are of different rows: what one has just stored the next would wait for.
template <class Use>
void each_group(Windows m, Use use) {
  long plane = m.height * m.width, square = m.size * m.size;
  Taps taps{square, {}, {}};
  for (long t = 0; t < square; t++) {
    long row = t % m.size, column = t / m.size;
    taps.weights[t] = (row * m.size + column) * plane;
    taps.sources[t] = row * m.wide() + column;
  }
  for (long n = 0; n < m.images; n++)
    for (long g = 0; g < m.groups; g++)
      use(n, (n * m.groups + g) * m.depth * plane,
          ((m.shared ? 0 : n) * m.groups + g) * square * plane, taps);
}

// Calls use(V, offset in a row's plane, offset in the padded one) for runs of positions.
template <class Use>
void each_run(Windows m, Use use) {
  for (long row = 0; row < m.height; row++) {
    long p = 0;
    for (; p + 16 <= m.width; p += 16) use(Floats16{}, row * m.width + p, row * m.wide() + p);
    for (; p + 8 <= m.width; p += 8) use(Floats8{}, row * m.width + p, row * m.wide() + p);
    for (; p < m.width; p++) use(float{}, row * m.width + p, row * m.wide() + p);
  }
}

// Weights predicted for a run of rows of an image: x and y are (H, W, D, G), w is (positions, K*K, G).
struct Rows {
  long height, width, depth, groups, size, first, last;
};

// Calls use(index, offset of its channels, taps) for every position.
template <class Use>
void each_position(Rows m, Use use) {
  long channels = m.depth * m.groups;
  Taps taps;
  for (long row = m.first; row < m.last; row++)
    for (long column = 0; column < m.width; column++) {
      taps.count = 0;
      for (long k = 0; k < m.size * m.size; k++) {
        long r = row + k / m.size - m.size / 2, c = column + k % m.size - m.size / 2;
        if (r < 0 || r >= m.height || c < 0 || c >= m.width) continue;
        taps.weights[taps.count] = k * m.groups;
        taps.sources[taps.count++] = (r * m.width + c) * channels;
      }
      use((row - m.first) * m.width + column, (row * m.width + column) * channels, taps);
    }
}

template <class V>
void predicted(const float* x, const float* w, float* y, Rows m) {
  each_position(m, [&](long index, long own, const Taps& taps) {
    const float* weights = w + index * m.size * m.size * m.groups;
    for (long g = 0; g < m.groups; g += sizeof(V) / sizeof(float))
      sums<V>(x + g, weights + g, y + own + g, taps, m.depth, m.groups, m.groups);
  });
}

template <class V>
void predicted_gradient(const float* x, const float* w, const float* dy, float* dx, float* dw,
                        Rows m) {
  long stride = m.size * m.size * m.groups;
  std::fill_n(dw, (m.last - m.first) * m.width * stride, 0.f);
  each_position(m, [&](long index, long own, const Taps& taps) {
    for (long g = 0; g < m.groups; g += sizeof(V) / sizeof(float))
      gradients<V>(x + g, w + index * stride + g, dy + own + g, dx + g, dw + index * stride + g,
                   taps, m.depth, m.groups, m.groups, false);
  });
}

}  // namespace

extern "C" {

void per_position(const float* x, const float* w, float* y, Windows m) {
  std::vector<float> between(m.depth * m.padded());
  each_group(m, [&](long, long map, long weights, const Taps& taps) {
    pad(x + map, between.data(), m);
    each_run(m, [&](auto v, long at, long source) {
      sums<decltype(v)>(between.data() + source, w + weights + at, y + map + at, taps, m.depth,
                        m.padded(), m.height * m.width);
    });
  });
}

// dw is written.
void per_position_gradient(const float* x, const float* w, const float* dy, float* dx, float* dw,
                           Windows m) {
  std::vector<float> between(m.depth * m.padded()), back(between.size());
  each_group(m, [&](long image, long map, long weights, const Taps& taps) {
    pad(x + map, between.data(), m);
    std::fill(back.begin(), back.end(), 0.f);
    each_run(m, [&](auto v, long at, long source) {
      gradients<decltype(v)>(between.data() + source, w + weights + at, dy + map + at,
                             back.data() + source, dw + weights + at, taps, m.depth, m.padded(),
                             m.height * m.width, m.shared && image);
    });
    for (long d = 0; d < m.depth; d++)
      for (long row = 0; row < m.height; row++)
        std::memcpy(dx + map + (d * m.height + row) * m.width,
                    back.data() + d * m.padded() + (row + m.size / 2) * m.wide() + m.size / 2,
                    m.width * sizeof(float));
  });
}

void predicted_rows(const float* x, const float* w, float* y, Rows m) {
  if (m.groups % 16 == 0) predicted<Floats16>(x, w, y, m);
  else predicted<Floats8>(x, w, y, m);
}

// dx is added to, dw is written.
void predicted_rows_gradient(const float* x, const float* w, const float* dy, float* dx, float* dw,
                             Rows m) {
  if (m.groups % 16 == 0) predicted_gradient<Floats16>(x, w, dy, dx, dw, m);
  else predicted_gradient<Floats8>(x, w, dy, dx, dw, m);
}

}  // extern "C"
