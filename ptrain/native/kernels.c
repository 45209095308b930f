/* The arithmetic of a training step on a CPU, with the same bits on every processor that has fused multiply-add.
 *
 * Python passes addresses: ptrain/native/calls.py owns the tensors behind them and checks their shapes and types.
 * Nothing here is called with an address that came from a file or from the network. The interpreter's lock is released
 * while a kernel runs.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define UNROLL _Pragma("GCC unroll 16")
#define TILE_ROWS 6
#define DEPTH_BLOCK 4096 /* lines of a panel: 256 KiB with 16 columns */
#define REDUCE_BLOCK 1024
#define STRIPS 16 /* of TILE_ROWS rows of a weight gradient, whose tiles are worked on together */
#define EXPONENT 0x7f800000u

enum { NO_MEMORY = -1, GIVEN_UP = -2 }; /* what a kernel returns instead of 0 */

enum kind { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW }; /* of an update; OPTIMIZERS at the end has their names */

#include "structs.h"

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline int64_t label_at(const void *labels, long item, long index)
{
    switch (item) {
    case 1: return ((const uint8_t *)labels)[index];
    case 2: return ((const uint16_t *)labels)[index];
    case 4: return ((const uint32_t *)labels)[index];
    default: return ((const int64_t *)labels)[index];
    }
}

/* exp(x) for x <= 0 and log(x) for x >= 1 in double precision from operations that IEEE 754 rounds, so that no mathematical
 * library's version shows. Errors below 1e-13, relative for exp, absolute for log: far below a float's. */
static inline double exponential(double x)
{
    /* Without branches, so that a loop over it becomes vector instructions. What is not a number is the caller's. */
    const double inside = x > -700.0 ? x : -700.0;
    const double turns = floor(inside * 1.4426950408889634 + 0.5);
    /* ln 2 in two parts, the first with trailing zeros, so that the product with turns is exact */
    const double rest = (inside - turns * 6.93147180369123816490e-01) - turns * 1.90821492927058770002e-10;
    double sum = 1.0 / 479001600;
    sum = sum * rest + 1.0 / 39916800;
    sum = sum * rest + 1.0 / 3628800;
    sum = sum * rest + 1.0 / 362880;
    sum = sum * rest + 1.0 / 40320;
    sum = sum * rest + 1.0 / 5040;
    sum = sum * rest + 1.0 / 720;
    sum = sum * rest + 1.0 / 120;
    sum = sum * rest + 1.0 / 24;
    sum = sum * rest + 1.0 / 6;
    sum = sum * rest + 1.0 / 2;
    sum = sum * rest + 1.0;
    sum = sum * rest + 1.0;
    const int64_t bits = (int64_t)((int32_t)turns + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return x > -700.0 ? sum * power : 0.0;
}

static double logarithm(double x)
{
    if (!(x < INFINITY)) return x;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffull) | (1023ull << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    /* log m = 2 atanh((m - 1) / (m + 1)) */
    const double s = (m - 1.0) / (m + 1.0), square = s * s;
    double sum = 0.0;
    for (int i = 21; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
    return (double)exponent * 6.93147180559945286227e-01 + 2.0 * s * sum;
}

/* Memory of this thread for the duration of a kernel, aligned to 64 bytes. Null where there is none. */
static float *scratch(long count)
{
    static _Thread_local float *memory;
    static _Thread_local long size;
    if (count > size) {
        free(memory);
        size = (count + 4095) / 4096 * 4096;
        memory = aligned_alloc(64, size * sizeof(float));
        if (!memory) size = 0;
    }
    return memory;
}

/* Any processor: the library's fused multiply-add, exact but slow where the processor has none. */
#define NAME(x) x##_plain
#define LANES 1
#define VECTOR float
#define SPREAD(x) (x)
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define BLOCK 1
#define TRANSPOSE(from, from_stride, to, to_stride) (*(to) = *(from))
#define PANEL_VECTORS 2
#include "simd.h"

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
/* An 8 x 8 block: pairs of lines are interleaved, then pairs of pairs, then the halves of the vectors change places. */
static inline void transpose(const float *from, long from_stride, float *to, long to_stride)
{
    __m256 line[8], pair[8], four[8];
    UNROLL for (int i = 0; i < 8; i++) line[i] = _mm256_loadu_ps(from + i * from_stride);
    UNROLL for (int i = 0; i < 4; i++) {
        pair[2 * i] = _mm256_unpacklo_ps(line[2 * i], line[2 * i + 1]);
        pair[2 * i + 1] = _mm256_unpackhi_ps(line[2 * i], line[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        four[4 * i] = _mm256_shuffle_ps(pair[4 * i], pair[4 * i + 2], 0x44);
        four[4 * i + 1] = _mm256_shuffle_ps(pair[4 * i], pair[4 * i + 2], 0xee);
        four[4 * i + 2] = _mm256_shuffle_ps(pair[4 * i + 1], pair[4 * i + 3], 0x44);
        four[4 * i + 3] = _mm256_shuffle_ps(pair[4 * i + 1], pair[4 * i + 3], 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(four[i], four[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(four[i], four[i + 4], 0x31));
    }
}
#define NAME(x) x##_avx2
#define LANES 8
#define VECTOR __m256
#define SPREAD(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define BLOCK 8
#define TRANSPOSE transpose
#define PANEL_VECTORS 2
#include "simd.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#define NAME(x) x##_avx512
#define LANES 16
#define VECTOR __m512
#define SPREAD(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define BLOCK 8
#define TRANSPOSE transpose
#define PANEL_VECTORS 4
#include "simd.h"
#pragma GCC pop_options
#elif defined(__aarch64__)
#define NAME(x) x##_neon
#define LANES 4
#define VECTOR float32x4_t
#define SPREAD(x) vdupq_n_f32(x)
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define BLOCK 1
#define TRANSPOSE(from, from_stride, to, to_stride) (*(to) = *(from))
#define PANEL_VECTORS 4
#include "simd.h"
#endif

/* Spins for a while, then sleeps, so that more ranks than cores do not stand in each other's way. */
static int barrier(const struct barrier *task)
{
    const long size = task->size, spins = task->spins;
    _Atomic uint32_t *arrived = (_Atomic uint32_t *)task->words, *round = (_Atomic uint32_t *)(task->words + 16);
    const _Atomic uint32_t *given_up = (const _Atomic uint32_t *)task->given_up;
    const uint32_t mine = atomic_load_explicit(round, memory_order_acquire);
    if (atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel) + 1 == (uint32_t)size) {
        atomic_store_explicit(arrived, 0, memory_order_relaxed);
        atomic_store_explicit(round, mine + 1, memory_order_release);
        syscall(SYS_futex, round, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
        return 0;
    }
    for (long i = 0; i < spins; i++) {
        if (atomic_load_explicit(round, memory_order_acquire) != mine) return 0;
        if (given_up && atomic_load_explicit(given_up, memory_order_relaxed)) return GIVEN_UP;
#if defined(__x86_64__)
        _mm_pause();
#endif
    }
    const struct timespec limit = {1, 0};
    while (atomic_load_explicit(round, memory_order_acquire) == mine) {
        if (given_up && atomic_load_explicit(given_up, memory_order_relaxed)) return GIVEN_UP;
        if (syscall(SYS_futex, round, FUTEX_WAIT, mine, &limit, NULL, 0) < 0 && errno == ENOSYS) return NO_MEMORY;
    }
    return 0;
}

static const struct {
    const char *name;
    const struct kernels *kernels;
} sets[] = {
#if defined(__x86_64__)
    {"avx512", &kernels_avx512},
    {"avx2", &kernels_avx2},
#elif defined(__aarch64__)
    {"neon", &kernels_neon},
#endif
    {"plain", &kernels_plain},
};
enum { NUM_SETS = sizeof sets / sizeof *sets };
static const struct kernels *chosen = &kernels_plain;

static int runs_here(const char *name)
{
#if defined(__x86_64__)
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
    if (!strcmp(name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    (void)name;
    return 1;
}

static PyObject *instruction_sets(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < NUM_SETS; i++) {
        if (!runs_here(sets[i].name)) continue;
        PyObject *name = PyUnicode_FromString(sets[i].name);
        if (!name || PyList_Append(list, name)) Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *choose(PyObject *module, PyObject *argument)
{
    (void)module;
    const char *name = PyUnicode_AsUTF8(argument);
    for (int i = 0; name && i < NUM_SETS; i++)
        if (!strcmp(name, sets[i].name) && runs_here(name)) {
            chosen = sets[i].kernels;
            Py_RETURN_NONE;
        }
    if (name) PyErr_Format(PyExc_ValueError, "instruction set %s is not one of this processor", name);
    return NULL;
}

static int execute(enum operation operation, const void *task)
{
#define CASE(name, NAME) \
    case NAME: return chosen->name(task);
    switch (operation) {
        KERNELS(CASE)
    case BARRIER: return barrier(task);
    }
    return -1;
}

static PyObject *given_up_error; /* what a barrier raises that somebody will not come to */

/* Runs a list of pairs (operation, address of its struct), all of them without the interpreter. With the address of a word
 * as third argument again and again, until the word is not 0 after the first operation, which is a barrier. */
static PyObject *run(PyObject *module, PyObject *const *arguments, Py_ssize_t number)
{
    (void)module;
    if (number != 2 && number != 3) return PyErr_Format(PyExc_TypeError, "expected 2 or 3 arguments, not %zd", number);
    const int64_t *list = PyLong_AsVoidPtr(arguments[0]);
    const long count = PyLong_AsLong(arguments[1]);
    const volatile int32_t *word = number == 3 ? PyLong_AsVoidPtr(arguments[2]) : NULL;
    if (PyErr_Occurred()) return NULL;
    int result = 0, stop = 0;
    Py_BEGIN_ALLOW_THREADS
    do
        for (long i = 0; i < count && !result && !stop; i++) {
            result = execute(list[2 * i], (const void *)list[2 * i + 1]);
            stop = i == 0 && word && *word;
        }
    while (word && !result && !stop);
    Py_END_ALLOW_THREADS
    if (result == NO_MEMORY) return PyErr_NoMemory();
    if (result == GIVEN_UP) return PyErr_Format(given_up_error, "another thread gave up");
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"instruction_sets", instruction_sets, METH_NOARGS, "Names of the instruction sets that this processor has, best first."},
    {"choose", choose, METH_O, "Use the kernels of this instruction set from now on."},
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Run the (address, number) of a list of operations."},
    {"serve", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Run a list again and again until a word is not 0."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", "Kernels of ptrain.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    PyObject *created = PyModule_Create(&module), *structs = PyDict_New();
    PyObject *optimizers = Py_BuildValue("(sssss)", "sgd", "momentum", "nesterov", "adam", "adamw");
    given_up_error = PyErr_NewException("ptrain.native.GivenUpError", PyExc_RuntimeError, NULL);
    if (created && (!structs || !optimizers || !given_up_error || describe(structs) ||
                    PyModule_AddObjectRef(created, "STRUCTS", structs) ||
                    PyModule_AddObjectRef(created, "OPTIMIZERS", optimizers) ||
                    PyModule_AddObjectRef(created, "GivenUpError", given_up_error)))
        Py_CLEAR(created);
    Py_XDECREF(structs);
    Py_XDECREF(optimizers);
    return created;
}
