// Vectors of floats, read from and written to float or bfloat16, for kernels of one thread of a CPU.
//
// The kernels beside this are plain C functions over contiguous memory, without a header of PyTorch:
// so they compile in two seconds and fit any version of it. Python checks shapes; nothing is checked
// there. Rows and columns outside a map count as zeros.

#pragma once

#include <cstdint>
#include <cstring>

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

}  // namespace
