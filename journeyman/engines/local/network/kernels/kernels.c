/* The parts of a decoding step that PyTorch has no fused operator for. Compiled on first use by kernels/build.py, which
 * falls back to the same operations in PyTorch (ops.py) where there is no C compiler.
 *
 * Activations are bf16 or float32 (the functions ending in _bf16 and _f32); everything is computed in float32.
 * Every row is computed by itself, in an order that does not depend on the other rows of the batch.
 * All widths are multiples of 16, which the caller checks. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define PAGE 16 /* Positions in a page of the cache; step.py has the same number. */
_Static_assert(PAGE == LANES, "the scores of a page are one vector");
#define MEMBERS 3
#define HEADS_AT_ONCE 4
#define LARGEST_HEAD 512
#define WORTH_THREADS 8192 /* Numbers below which starting the threads costs more than it saves. */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t half_vec __attribute__((vector_size(2 * LANES), aligned(2)));

static inline vec load_wide(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static inline vec splat(float x) { return x - (vec){0}; }
static inline vec vmax(vec a, vec b) { return (vec)(((ivec)a & (a > b)) | ((ivec)b & ~(a > b))); }
static inline vec vmin(vec a, vec b) { return (vec)(((ivec)a & (a < b)) | ((ivec)b & ~(a < b))); }

static inline float sum_of(vec v) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += v[lane];
    return total;
}

static inline float max_of(vec v) {
    float largest = v[0];
    for (int lane = 1; lane < LANES; lane++) largest = v[lane] > largest ? v[lane] : largest;
    return largest;
}

static const ivec LANE_NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* e^x to about 2 units in the last place: Cephes' polynomial after reduction by multiples of ln 2. */
static inline vec vexp(vec x) {
    x = vmin(vmax(x, splat(-87.3f)), splat(88.3f));
    vec shifted = x * splat(1.44269504f) + splat(12582912.0f); /* 1.5 * 2^23: the sum holds the nearest integer. */
    vec whole = shifted - splat(12582912.0f);
    vec r = x - whole * splat(0.693359375f) + whole * splat(2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    ivec exponent = (__builtin_convertvector(whole, ivec) + 127) << 23;
    return p * (vec)exponent;
}

/* The low-rank pairs of one adapter at one site: A is [rank, inputs]; each member adds the rows `first` to `first + rank`
 * of A's product, times its own B [rank, outputs], to the columns from `column` on. */
struct member { const void *b; int32_t rank, first, column, outputs; };
struct site { const void *a; int32_t rank, members; struct member member[MEMBERS]; };
struct span { int32_t first, last; const struct site *sites; };

#define T uint16_t
#define NAME(name) name##_bf16
static inline vec NAME(load)(const T *p) {
    half_vec h;
    memcpy(&h, p, sizeof h);
    return (vec)(__builtin_convertvector(h, uvec) << 16);
}
static inline void NAME(store)(T *p, vec v) {
    uvec bits = (uvec)v;
    half_vec h = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, half_vec);
    /* Rounding would carry a NaN's bits into infinity or zero. */
    h = (half_vec)(h | __builtin_convertvector((uvec)(v != v) & 0x7fc0, half_vec));
    memcpy(p, &h, sizeof h);
}
static inline float NAME(load_one)(const T *p) {
    uint32_t bits = (uint32_t)*p << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
/* Two products to a lane where the processor has them: the sums stay float32. */
#ifdef __AVX512BF16__
#include <immintrin.h>
typedef __m512bh wide;
#define STEP 32
#define LOAD_WIDE(p) ((wide)_mm512_loadu_si512(p))
#define MULTIPLY_ADD(sum, a, b) ((vec)_mm512_dpbf16_ps((__m512)(sum), a, b))
#else
typedef vec wide;
#define STEP 16
#define LOAD_WIDE(p) load_bf16(p)
#define MULTIPLY_ADD(sum, a, b) ((sum) + (a) * (b))
#endif
#include "kernels.inc"

/* The logits of a product in bf16 as float32: those at most `margin` below the greatest of their row are computed again,
 * from hidden states that were not rounded. out, logits: [rows, vocabulary]; hidden: float32 [rows, width]; head:
 * [vocabulary, width]. */
void widen_logits_bf16(float *out, const uint16_t *logits, const float *hidden, const uint16_t *head, float margin,
                       int64_t rows, int64_t vocabulary, int64_t width) {
#pragma omp parallel for schedule(dynamic)
    for (int64_t row = 0; row < rows; row++) {
        const uint16_t *rounded = logits + row * vocabulary;
        const float *state = hidden + row * width;
        float *to = out + row * vocabulary, top = -INFINITY;
        for (int64_t i = 0; i < vocabulary; i++) {
            to[i] = load_one_bf16(rounded + i);
            top = to[i] > top ? to[i] : top;
        }
        for (int64_t i = 0; i < vocabulary; i++) {
            if (!(to[i] >= top - margin)) continue;
            vec sums = {0};
            for (int64_t j = 0; j < width; j += LANES) sums += load_wide(state + j) * load_bf16(head + i * width + j);
            to[i] = sum_of(sums);
        }
    }
}
#undef T
#undef NAME
#undef STEP
#undef LOAD_WIDE
#undef MULTIPLY_ADD
#define wide vec

#define T float
#define NAME(name) name##_f32
static inline vec NAME(load)(const T *p) { return load_wide(p); }
static inline void NAME(store)(T *p, vec v) { memcpy(p, &v, sizeof v); }
static inline float NAME(load_one)(const T *p) { return *p; }
#define STEP 16
#define LOAD_WIDE(p) load_f32(p)
#define MULTIPLY_ADD(sum, a, b) ((sum) + (a) * (b))
#include "kernels.inc"
