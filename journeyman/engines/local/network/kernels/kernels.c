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

/* As wide as the processor's registers: a vector that no register holds lives in memory, at a tenth of the speed. */
#if defined(__AVX512F__)
#define LANES 16
#define REGISTERS 32
#elif defined(__AVX__)
#define LANES 8
#define REGISTERS 16
#elif defined(__aarch64__)
#define LANES 4
#define REGISTERS 32
#else
#define LANES 4
#define REGISTERS 16
#endif
#define PAGE 16 /* Positions in a page of the cache; step.py has the same number. */
#define PAGE_PARTS (PAGE / LANES)
#define MEMBERS 3
#define HEADS_AT_ONCE 4
/* How much is summed at a time, so that the sums, and what they are made of, lie in registers. */
#define SUMS_AT_ONCE (REGISTERS / 2)
#define PARTS_AT_ONCE (SUMS_AT_ONCE / HEADS_AT_ONCE) /* Of what a head sees. */
#define ROWS_AT_ONCE 4
#define RANKS_AT_ONCE (SUMS_AT_ONCE / ROWS_AT_ONCE)
#define PARTS_OF_ROWS (SUMS_AT_ONCE / ROWS_AT_ONCE)
#define COLUMNS_OF_ONE 256 /* Of one row alone, in one thread's turn. */
#define PANEL (2 * LANES) /* Outputs of a product that are computed at a time. */
#define TILE_ROWS 6       /* Two vectors of sums each. */
#define LARGEST_HEAD 512
#define WORTH_THREADS 8192 /* Numbers below which starting the threads costs more than it saves. */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t half_vec __attribute__((vector_size(2 * LANES)));
/* As they lie in memory, anywhere: a memcpy of one would go through the stack in pieces of another width. */
typedef float vec_there __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec_there __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t half_vec_there __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* The loops over what lies in registers, all of constant bounds: what is not unrolled lies in memory. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

/* sum + a * b, rounded once where the processor can. Left to the compiler, it would depend on the code around it, and a
 * row on its company. */
#if defined(__AVX512F__)
#include <immintrin.h>
static inline vec add_product(vec sum, vec a, vec b) {
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
}
#elif defined(__AVX__) && defined(__FMA__)
#include <immintrin.h>
static inline vec add_product(vec sum, vec a, vec b) {
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
}
#elif defined(__aarch64__)
#include <arm_neon.h>
static inline vec add_product(vec sum, vec a, vec b) {
    return (vec)vfmaq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b);
}
#else
static inline vec add_product(vec sum, vec a, vec b) { return sum + a * b; }
#endif

static inline vec load_wide(const float *p) { return *(const vec_there *)p; }
static inline void store_wide(float *p, vec v) { *(vec_there *)p = v; }
static inline vec splat(float x) { return x - (vec){0}; }
static inline vec vmax(vec a, vec b) { return (vec)(((ivec)a & (a > b)) | ((ivec)b & ~(a > b))); }
static inline vec vmin(vec a, vec b) { return (vec)(((ivec)a & (a < b)) | ((ivec)b & ~(a < b))); }

/* Half of the lanes onto the other half, until one is left: as many steps as the logarithm of the lanes. */
static inline float sum_of(vec v) {
    float lanes[LANES];
    store_wide(lanes, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int lane = 0; lane < width; lane++) lanes[lane] += lanes[lane + width];
    return lanes[0];
}

static inline float max_of(vec v) {
    float lanes[LANES];
    store_wide(lanes, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int lane = 0; lane < width; lane++)
            lanes[lane] = lanes[lane] > lanes[lane + width] ? lanes[lane] : lanes[lane + width];
    return lanes[0];
}

static const int32_t LANE_NUMBERS[PAGE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* How the rest of the engine lays out the weights of a product. */
int64_t panel_width(void) { return PANEL; }

/* e^x to about 2 units in the last place: Cephes' polynomial after reduction by multiples of ln 2. */
static inline vec vexp(vec x) {
    x = vmin(vmax(x, splat(-87.3f)), splat(88.3f));
    /* 1.5 * 2^23: the sum holds the nearest integer. */
    vec shifted = add_product(splat(12582912.0f), x, splat(1.44269504f));
    vec whole = shifted - splat(12582912.0f);
    vec r = add_product(add_product(x, whole, splat(-0.693359375f)), whole, splat(2.12194440e-4f));
    vec p = splat(1.9875691500e-4f);
    p = add_product(splat(1.3981999507e-3f), p, r);
    p = add_product(splat(8.3334519073e-3f), p, r);
    p = add_product(splat(4.1665795894e-2f), p, r);
    p = add_product(splat(1.6666665459e-1f), p, r);
    p = add_product(splat(5.0000001201e-1f), p, r);
    p = add_product(r + splat(1.0f), p * r, r);
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
    half_vec h = *(const half_vec_there *)p;
    return (vec)(__builtin_convertvector(h, uvec) << 16);
}
static inline void NAME(store)(T *p, vec v) {
    uvec bits = (uvec)v;
    half_vec h = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, half_vec);
    /* Rounding would carry a NaN's bits into infinity or zero. */
    h = (half_vec)(h | __builtin_convertvector((uvec)(v != v) & 0x7fc0, half_vec));
    *(half_vec_there *)p = h;
}
static inline float NAME(load_one)(const T *p) {
    uint32_t bits = (uint32_t)*p << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
/* Two products to a lane where the processor has them: the sums stay float32. */
#ifdef __AVX512BF16__
typedef __m512bh wide;
#define STEP 32
#define LOAD_WIDE(p) ((wide)_mm512_loadu_si512(p))
#define MULTIPLY_ADD(sum, a, b) ((vec)_mm512_dpbf16_ps((__m512)(sum), a, b))
#else
typedef vec wide;
#define STEP LANES
#define LOAD_WIDE(p) load_bf16(p)
#define MULTIPLY_ADD(sum, a, b) add_product(sum, a, b)
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
            for (int64_t j = 0; j < width; j += LANES)
                sums = add_product(sums, load_wide(state + j), load_bf16(head + i * width + j));
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
static inline void NAME(store)(T *p, vec v) { store_wide(p, v); }
static inline float NAME(load_one)(const T *p) { return *p; }
#define STEP LANES
#define LOAD_WIDE(p) load_f32(p)
#define MULTIPLY_ADD(sum, a, b) add_product(sum, a, b)
#include "kernels.inc"
