// SHA-256 (FIPS 180-4) of a stream: LibTorch has none, and the client shall need nothing but LibTorch.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <istream>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace sha256 {

constexpr size_t BLOCK = 64;  // bytes

// FIPS 180-4, 4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes
alignas(16) constexpr uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

using State = std::array<uint32_t, 8>;  // a to h of 6.2

inline uint32_t rotated(uint32_t x, int count) { return x >> count | x << (32 - count); }

// 6.2.2, as it is written there: any processor
inline void portable(State& state, const uint8_t* data, size_t blocks) {
  for (; blocks > 0; --blocks, data += BLOCK) {
    uint32_t w[64];
    for (int t = 0; t < 16; ++t)
      w[t] = uint32_t{data[4 * t]} << 24 | data[4 * t + 1] << 16 | data[4 * t + 2] << 8 | data[4 * t + 3];
    for (int t = 16; t < 64; ++t) {
      uint32_t s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3;
      uint32_t s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10;
      w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (int t = 0; t < 64; ++t) {
      uint32_t t1 = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t];
      uint32_t t2 = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const State after = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += after[i];
  }
}

#if defined(__x86_64__)
inline bool has_instructions() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);  // leaf 7, EBX bit 29: SHA
}

// The same by the processor's own instructions: four rounds at a time, several times as fast. They keep the state as
// (a, b, e, f) and (c, d, g, h), a and c in the highest lane.
__attribute__((target("sha,sse4.1"))) inline void instructions(State& s, const uint8_t* data, size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abef = _mm_set_epi32(s[0], s[1], s[4], s[5]), cdgh = _mm_set_epi32(s[2], s[3], s[6], s[7]);
  for (; blocks > 0; --blocks, data += BLOCK) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];  // the last 16 words of the schedule, a ring of four by four
    for (int i = 0; i < 16; ++i) {
      __m128i& now = w[i & 3];
      const __m128i &next = w[(i + 1) & 3], &second = w[(i + 2) & 3], &last = w[(i + 3) & 3];
      if (i < 4)
        now = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + i), big_endian);
      else
        now = _mm_sha256msg2_epu32(
            _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8(last, second, 4)), last);
      const __m128i wk = _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(K) + i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before), cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  alignas(16) uint32_t x[4], y[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(x), abef), _mm_store_si128(reinterpret_cast<__m128i*>(y), cdgh);
  s = {x[3], x[2], y[3], y[2], x[1], x[0], y[1], y[0]};
}
#endif

inline void compress(State& state, const uint8_t* data, size_t blocks) {
#if defined(__x86_64__)
  static const bool fast = has_instructions();
  if (fast) return instructions(state, data, blocks);
#endif
  portable(state, data, blocks);
}

// The digest of what is left of a stream, as 64 hexadecimal digits; `kernel` for the tests, which compare the two.
inline std::string digest(std::istream& in, void (*kernel)(State&, const uint8_t*, size_t) = compress) {
  // 5.3.3: the first 32 bits of the fractions of the square roots of the first 8 primes
  State state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::vector<uint8_t> buffer(1 << 16);  // small enough to stay in the cache
  uint64_t bytes = 0;
  size_t count = buffer.size();
  while (count == buffer.size()) {
    count = static_cast<size_t>(in.read(reinterpret_cast<char*>(buffer.data()), buffer.size()).gcount());
    bytes += count;
    kernel(state, buffer.data(), count / BLOCK);
  }
  // 5.1.1: a one bit, zeros, and the length in bits in the last 8 bytes of a block
  const size_t rest = count % BLOCK;
  uint8_t end[2 * BLOCK] = {};
  std::memcpy(end, buffer.data() + (count - rest), rest);
  end[rest] = 0x80;
  const size_t blocks = rest + 9 <= BLOCK ? 1 : 2;
  for (int i = 0; i < 8; ++i) end[blocks * BLOCK - 1 - i] = static_cast<uint8_t>(bytes * 8 >> 8 * i);
  kernel(state, end, blocks);

  std::string hex;
  for (uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

}  // namespace sha256
