// Weighted sums over windows and their gradients, for one thread of a CPU.
//
// Plain C functions over contiguous memory, without a header of PyTorch: so they compile in two
// seconds and fit any version of it. Python checks shapes; nothing is checked here. Rows and columns
// outside the map count as zeros: they are passed over, not stored.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats16 __attribute__((vector_size(64)));
typedef uint32_t Bits16 __attribute__((vector_size(64)));
typedef uint16_t Halves16 __attribute__((vector_size(32)));

struct bf16 {
  uint16_t bits;
};

template <class V>
inline V load(const float* from) {
  V value;
  std::memcpy(&value, from, sizeof value);  // an unaligned load
  return value;
}

template <class V>
inline void store(float* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

template <class V>
inline V load(const bf16* from) {
  Halves16 halves;
  std::memcpy(&halves, from, sizeof halves);
  return (V)(__builtin_convertvector(halves, Bits16) << 16);
}

// Rounds to the nearest, to even where two are as near; what is no number stays none.
inline void store(bf16* to, Floats16 value) {
  Bits16 bits = (Bits16)value;
  Bits16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Bits16 number = (Bits16)(value == value);
  Halves16 halves = __builtin_convertvector((rounded & number) | (0x7fc0 & ~number), Halves16);
  std::memcpy(to, &halves, sizeof halves);
}

// ---- Kernels that are the same at all positions; x and y are (B, H, W, C), 16 divides C.

constexpr long LANES = 16;

struct Maps {
  long batch, height, width, channels;
};

#ifdef __AVX512F__
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 8;  // of 16 floats each
#endif

// As many neighbouring columns as fit into registers with the K - 1 more that their windows reach.
template <int K>
constexpr int TILE = REGISTERS == 32 ? (K > 7 ? 6 : 8) : 2;

// The part of a row that a tile's windows reach, zeros outside the map.
template <int N, class T>
inline void reach(const T* row, long first, long width, long channels, Floats16* out) {
  if (first >= 0 && first + N <= width) {
    for (int i = 0; i < N; i++) out[i] = load<Floats16>(row + (first + i) * channels);
  } else {
    for (int i = 0; i < N; i++) {
      long column = first + i;
      out[i] = column >= 0 && column < width ? load<Floats16>(row + column * channels)
                                             : Floats16{};
    }
  }
}

// w is (B, K, K, C). Channels outermost, so that a strip of K rows stays in the first cache.
template <int K, class T>
void correlate(const T* x, const float* w, const float* bias, T* y, Maps m) {
  constexpr int N = TILE<K>, R = K / 2;
  for (long b = 0; b < m.batch; b++)
    for (long c = 0; c < m.channels; c += LANES) {
      const T* image = x + b * m.height * m.width * m.channels + c;
      const float* kernel = w + b * K * K * m.channels + c;
      for (long row = 0; row < m.height; row++)
        for (long column = 0; column < m.width; column += N) {
          Floats16 sums[N];
          std::fill_n(sums, N, load<Floats16>(bias + c));
          long low = std::max(0L, R - row), high = std::min<long>(K, m.height - row + R);
          for (long k = low; k < high; k++) {
            Floats16 in[N + K - 1];
            reach<N + K - 1>(image + (row + k - R) * m.width * m.channels, column - R, m.width,
                             m.channels, in);
            for (int j = 0; j < K; j++) {
              Floats16 weight = load<Floats16>(kernel + (k * K + j) * m.channels);
              for (int i = 0; i < N; i++) sums[i] += weight * in[i + j];
            }
          }
          T* out = y + ((b * m.height + row) * m.width + column) * m.channels + c;
          long count = std::min<long>(N, m.width - column);
          for (long i = 0; i < count; i++) store(out + i * m.channels, sums[i]);
        }
    }
}

// The gradient of w. Sums over a row are added to the total one by one: two short sums lose less
// than a long one.
template <int K, class T>
void weight_gradient(const T* x, const T* dy, float* dw, Maps m, bool own) {
  constexpr int N = TILE<K>, R = K / 2;
  for (long c = 0; c < m.channels; c += LANES) {
    Floats16 total[K * K] = {};
    for (long b = 0; b < m.batch; b++) {
      const T* image = x + b * m.height * m.width * m.channels + c;
      for (long row = 0; row < m.height; row++) {
        const T* out = dy + (b * m.height + row) * m.width * m.channels + c;
        long low = std::max(0L, R - row), high = std::min<long>(K, m.height - row + R);
        for (long k = low; k < high; k++) {
          Floats16 sums[K] = {};
          for (long column = 0; column < m.width; column += N) {
            Floats16 in[N + K - 1], gradient[N];
            reach<N + K - 1>(image + (row + k - R) * m.width * m.channels, column - R, m.width,
                             m.channels, in);
            reach<N>(out, column, m.width, m.channels, gradient);
            for (int i = 0; i < N; i++)
              for (int j = 0; j < K; j++) sums[j] += gradient[i] * in[i + j];
          }
          for (int j = 0; j < K; j++) total[k * K + j] += sums[j];
        }
      }
      if (own || b == m.batch - 1) {
        float* to = dw + (own ? b * K * K * m.channels : 0) + c;
        for (int k = 0; k < K * K; k++) {
          store(to + k * m.channels, total[k]);
          total[k] = Floats16{};
        }
      }
    }
  }
}

// ---- Kernels of their own at every position. V is that many positions or groups side by side; the
// channels of a group are `depth` steps of `xstep` or `ystep` apart and share its weights.

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

template <class Call>
int with_size(long size, Call call) {
  switch (size) {
    case 3: call.template operator()<3>(); return 0;
    case 5: call.template operator()<5>(); return 0;
    case 7: call.template operator()<7>(); return 0;
    case 9: call.template operator()<9>(); return 0;
    default: return 1;
  }
}

}  // namespace

extern "C" {

int depthwise(const void* x, const float* w, const float* bias, void* y, Maps m, long size,
              int halves) {
  return with_size(size, [&]<int K>() {
    if (halves) correlate<K>((const bf16*)x, w, bias, (bf16*)y, m);
    else correlate<K>((const float*)x, w, bias, (float*)y, m);
  });
}

int depthwise_weights(const void* x, const void* dy, float* dw, Maps m, long size, int own,
                      int halves) {
  return with_size(size, [&]<int K>() {
    if (halves) weight_gradient<K>((const bf16*)x, (const bf16*)dy, dw, m, own);
    else weight_gradient<K>((const float*)x, (const float*)dy, dw, m, own);
  });
}

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
