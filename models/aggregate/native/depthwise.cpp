// Kernels that are the same at all positions: x and y are (B, H, W, C), 16 divides C.

#include <algorithm>

#include "vectors.h"

namespace {

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

}  // extern "C"
