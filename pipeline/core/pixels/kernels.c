/* Pillow's antialiased resize and its affine transform to the last bit, with the vectors of AVX2.
 *
 * Images have four bytes a pixel, of which three count. What Pillow computes in whole numbers is
 * computed in the same whole numbers; what it computes in doubles, in doubles and in its order
 * (compile with -ffp-contract=off). */

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE static inline __attribute__((always_inline, target("avx2")))

enum { PRECISION = 32 - 8 - 2, PAIR = 2, ROWS = 4, BLOCK = 32 };

int usable(void) { return __builtin_cpu_supports("avx2") != 0; }

/* ---- Resize ---- */

typedef struct {
    int taps;        /* weights of each output pixel, an even number */
    int *start;      /* the first input pixel of each output pixel */
    int32_t *weight; /* in units of 2^-PRECISION */
} Filter;

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static void filter_free(Filter *filter) {
    free(filter->start);
    free(filter->weight);
}

/* Windows are filled up with zeros to the same number of taps, and stay inside the input. */
static int filter_make(Filter *filter, int in, int out, int cubic) {
    const double scale = (double)in / out, stretch = scale < 1.0 ? 1.0 : scale;
    const double support = (cubic ? 2.0 : 1.0) * stretch, step = 1.0 / stretch;
    const int most = (int)ceil(support) * 2 + 1;
    const int taps = (most + PAIR - 1) / PAIR * PAIR;
    filter->taps = taps;
    filter->start = malloc(sizeof(int) * out);
    filter->weight = calloc((size_t)out * taps, sizeof(int32_t));
    double *exact = malloc(sizeof(double) * most);
    const int fits = taps <= in && filter->start && filter->weight && exact;
    for (int x = 0; fits && x < out; x++) {
        const double centre = (x + 0.5) * scale;
        int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
        if (first < 0) first = 0;
        if (last > in) last = in;
        const int count = last - first;
        double sum = 0.0;
        for (int k = 0; k < count; k++) {
            const double at = (k + first - centre + 0.5) * step;
            exact[k] = cubic ? bicubic(at) : bilinear(at);
            sum += exact[k];
        }
        const int start = first + taps <= in ? first : in - taps;
        int32_t *weight = filter->weight + (size_t)x * taps + (first - start);
        for (int k = 0; k < count; k++) {
            const double share = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << PRECISION);
            weight[k] = (int32_t)(share < 0 ? share - 0.5 : share + 0.5);
        }
        filter->start[x] = start;
    }
    free(exact);
    if (!fits) filter_free(filter);
    return fits;
}

INLINE __m256i eight(const uint8_t *at) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
}

INLINE __m128i halves(__m256i sum) {
    const __m128i both =
        _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    return _mm_srai_epi32(_mm_add_epi32(both, _mm_set1_epi32(1 << (PRECISION - 1))), PRECISION);
}

/* Columns. Four rows at once, so that weights are read once for all of them. */
AVX2 static void across(const uint8_t *in, ptrdiff_t in_stride, int height, uint8_t *out,
                        size_t stride, int width, int mirror, const Filter *filter) {
    const int32_t *shuffle = (const int32_t[]){0, 0, 0, 0, 1, 1, 1, 1};
    const __m256i spread = _mm256_loadu_si256((const __m256i *)shuffle);
    for (int y = 0; y < height; y += ROWS) {
        const uint8_t *lines[ROWS];
        for (int row = 0; row < ROWS; row++)
            lines[row] = in + in_stride * (y + row < height ? y + row : height - 1);
        for (int x = 0; x < width; x++) {
            const int32_t *weights = filter->weight + (size_t)x * filter->taps;
            ptrdiff_t at = 4 * (ptrdiff_t)filter->start[x];
            __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
            for (int k = 0; k < filter->taps; k += PAIR, at += 4 * PAIR) {
                const __m256i two =
                    _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)(weights + k)));
                const __m256i weight = _mm256_permutevar8x32_epi32(two, spread);
                a = _mm256_add_epi32(a, _mm256_mullo_epi32(eight(lines[0] + at), weight));
                b = _mm256_add_epi32(b, _mm256_mullo_epi32(eight(lines[1] + at), weight));
                c = _mm256_add_epi32(c, _mm256_mullo_epi32(eight(lines[2] + at), weight));
                d = _mm256_add_epi32(d, _mm256_mullo_epi32(eight(lines[3] + at), weight));
            }
            const __m128i pixels = _mm_packus_epi16(_mm_packs_epi32(halves(a), halves(b)),
                                                    _mm_packs_epi32(halves(c), halves(d)));
            uint8_t four[4 * ROWS];
            _mm_storeu_si128((__m128i *)four, pixels);
            uint8_t *to = out + y * stride + 4 * (size_t)(mirror ? width - 1 - x : x);
            for (int row = 0; row < ROWS && y + row < height; row++)
                memcpy(to + row * stride, four + 4 * row, 4);
        }
    }
}

/* Lines, `size` bytes of each, at least BLOCK: the last block begins where it still fits. */
AVX2 static void down(const uint8_t *in, ptrdiff_t in_stride, uint8_t *out, size_t size,
                      int height, const Filter *filter) {
    const __m256i half = _mm256_set1_epi32(1 << (PRECISION - 1));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int y = 0; y < height; y++) {
        const uint8_t *from = in + in_stride * filter->start[y];
        const int32_t *weights = filter->weight + (size_t)y * filter->taps;
        for (size_t begin = 0; begin < size; begin += BLOCK) {
            const size_t block = begin + BLOCK <= size ? begin : size - BLOCK;
            const uint8_t *at = from + block;
            __m256i a = half, b = half, c = half, d = half;
            for (int k = 0; k < filter->taps; k++, at += in_stride) {
                const __m256i weight = _mm256_set1_epi32(weights[k]);
                a = _mm256_add_epi32(a, _mm256_mullo_epi32(eight(at), weight));
                b = _mm256_add_epi32(b, _mm256_mullo_epi32(eight(at + 8), weight));
                c = _mm256_add_epi32(c, _mm256_mullo_epi32(eight(at + 16), weight));
                d = _mm256_add_epi32(d, _mm256_mullo_epi32(eight(at + 24), weight));
            }
            const __m256i low = _mm256_packs_epi32(_mm256_srai_epi32(a, PRECISION),
                                                   _mm256_srai_epi32(b, PRECISION));
            const __m256i high = _mm256_packs_epi32(_mm256_srai_epi32(c, PRECISION),
                                                    _mm256_srai_epi32(d, PRECISION));
            const __m256i pixels =
                _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            _mm256_storeu_si256((__m256i *)(out + y * size + block), pixels);
        }
    }
}

/* Memory of this thread that stays for the next image; NULL where there is none. */
static uint8_t *scratch(size_t size) {
    static _Thread_local uint8_t *memory;
    static _Thread_local size_t held;
    if (size > held) {
        free(memory);
        memory = malloc(size);
        held = memory ? size : 0;
    }
    return memory;
}

/* Resize to `channels` (3 or 4) bytes a pixel, packed; mirrored left to right where `mirror`.
 *
 * The pass that comes first decides how the middle is rounded. Pillow begins with the columns, and
 * from version 13 on (`tall`) with the lines where the height shrinks by more than twice what the
 * width does. Returns 0, and writes nothing, where an image is too small for these vectors or
 * memory lacks. */
int resize(const uint8_t *in, ptrdiff_t in_stride, int in_width, int in_height, uint8_t *out,
           int width, int height, int channels, int cubic, int mirror, int tall) {
    const int shrink = in_height - height;
    const int lines_first = tall && shrink > 0 && shrink > 2 * (in_width - width);
    const size_t in_size = (size_t)in_width * 4, size = (size_t)width * 4;
    if (in_size < BLOCK || size < BLOCK) return 0;
    Filter columns, lines;
    if (!filter_make(&columns, in_width, width, cubic)) return 0;
    if (!filter_make(&lines, in_height, height, cubic)) {
        filter_free(&columns);
        return 0;
    }
    uint8_t *last = scratch(size * height + (lines_first ? in_size * height : size * in_height));
    uint8_t *middle = last + size * height;
    const int done = last != NULL;
    if (done && lines_first) {
        down(in, in_stride, middle, in_size, height, &lines);
        across(middle, in_size, height, last, size, width, mirror, &columns);
    } else if (done) {
        across(in, in_stride, in_height, middle, size, width, mirror, &columns);
        down(middle, size, last, size, height, &lines);
    }
    for (int y = 0; done && y < height; y++) {
        const uint8_t *from = last + y * size;
        uint8_t *to = out + (size_t)y * width * channels;
        if (channels == 4) memcpy(to, from, size);
        else for (int x = 0; x < width; x++) memcpy(to + 3 * x, from + 4 * x, 3);
    }
    filter_free(&columns);
    filter_free(&lines);
    return done;
}

/* ---- Affine, bicubic ---- */

INLINE __m256d pixel(const uint8_t *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}

INLINE __m256d cubic(__m256d v1, __m256d v2, __m256d v3, __m256d v4, double at) {
    const __m256d d = _mm256_set1_pd(at), less = _mm256_sub_pd(v1, v2);
    const __m256d p2 = _mm256_sub_pd(v3, v1);
    const __m256d p3 = _mm256_sub_pd(_mm256_add_pd(_mm256_add_pd(less, less), v3), v4);
    const __m256d p4 = _mm256_add_pd(_mm256_sub_pd(_mm256_sub_pd(v2, v1), v3), v4);
    const __m256d inner = _mm256_add_pd(p3, _mm256_mul_pd(d, p4));
    return _mm256_add_pd(v2, _mm256_mul_pd(d, _mm256_add_pd(p2, _mm256_mul_pd(d, inner))));
}

INLINE int below(double value) { return value < 0.0 ? (int)floor(value) : (int)value; }

INLINE int within(int value, int size) {
    return value < 0 ? 0 : value < size ? value : size - 1;
}

typedef struct {
    const uint8_t *pixels;
    int width, height;
} Image;

/* The value in line `y` at the columns `at`, of which dx = 0 takes the second alone. */
INLINE __m256d across_line(const Image *image, int y, const size_t *at, double dx) {
    const uint8_t *line = image->pixels + 4 * (size_t)image->width * within(y, image->height);
    if (dx == 0.0) return pixel(line + at[1]);
    return cubic(pixel(line + at[0]), pixel(line + at[1]), pixel(line + at[2]),
                 pixel(line + at[3]), dx);
}

/* Packed images of one size; `fill` stands where a pixel comes from outside. A cubic at 0 is its
 * second value exactly, so shears and shifts need one cubic where a rotation needs five. */
AVX2 void affine(const uint8_t *in, int width, int height, uint8_t *out, const double *a,
                 const uint8_t *fill) {
    const Image image = {in, width, height};
    int32_t outside;
    memcpy(&outside, fill, sizeof outside);
    for (int y = 0; y < height; y++) {
        const double across_y = a[1] * (y + 0.5), down_y = a[4] * (y + 0.5);
        for (int x = 0; x < width; x++, out += 4) {
            int32_t four = outside;
            const double xin = a[0] * (x + 0.5) + across_y + a[2];
            const double yin = a[3] * (x + 0.5) + down_y + a[5];
            if (xin >= 0.0 && xin < width && yin >= 0.0 && yin < height) {
                const int left = below(xin - 0.5), top = below(yin - 0.5);
                const double dx = xin - 0.5 - left, dy = yin - 0.5 - top;
                const size_t at[4] = {
                    4 * (size_t)within(left - 1, width), 4 * (size_t)within(left, width),
                    4 * (size_t)within(left + 1, width), 4 * (size_t)within(left + 2, width)};
                __m256d value = across_line(&image, top, at, dx);
                if (dy != 0.0)
                    value = cubic(across_line(&image, top - 1, at, dx), value,
                                  across_line(&image, top + 1, at, dx),
                                  across_line(&image, top + 2, at, dx), dy);
                const __m128i whole32 = _mm256_cvttpd_epi32(value);
                const __m128i whole16 = _mm_packs_epi32(whole32, whole32);
                four = _mm_cvtsi128_si32(_mm_packus_epi16(whole16, whole16));
            }
            memcpy(out, &four, sizeof four);
        }
    }
}
