/* The arguments of the kernels. ptrain/native/structs.py makes its structs from what the compiler made of these: names, kinds,
 * offsets and sizes.
 *
 * A list of fields is a macro over FIELD(type, name), so that the struct and its description come from one text. Every field
 * is an address, a whole number (long) or a double.
 */

/* out (shards, rows, n) = epilogue(a (shards, rows, depth) @ b): b is (depth, n), or with transposed (n, depth).
 * bias: (n,) or null. relu: out = max(out, 0), NaN kept. gate: like out or null; out = 0 where the gate is not above 0. */
#define LINEAR_FIELDS(FIELD)                                                                                           \
    FIELD(const float *, a) FIELD(long, a_stride) FIELD(long, shards) FIELD(long, rows) FIELD(long, depth)             \
    FIELD(const float *, b) FIELD(long, transposed) FIELD(long, n) FIELD(const float *, bias) FIELD(long, relu)        \
    FIELD(const float *, gate) FIELD(float *, out) FIELD(long, out_stride)

/* out[node] (inputs, outputs) = sum over the node's shards of input[s].T @ grad[s], for the first inputs of the width
 * elements of an input's row. merges[s] says how many of the sums at hand are then added, the last to the one before it.
 * With a divisor, the sum of all shards is divided by it, and finite receives whether all of the result is finite. */
#define GRADIENT_FIELDS(FIELD)                                                                                         \
    FIELD(const float *, input) FIELD(long, input_stride) FIELD(long, width)                                           \
    FIELD(const float *, grad) FIELD(long, grad_stride) FIELD(long, shards) FIELD(long, rows)                          \
    FIELD(long, inputs) FIELD(long, outputs) FIELD(const int64_t *, merges) FIELD(float *, out)                        \
    FIELD(long, node_stride) FIELD(double, divisor) FIELD(long, by_inverse) FIELD(int32_t *, finite)

/* The same for sums over rows: values (shards, rows, n), out[node] (n,). */
#define COLUMN_SUMS_FIELDS(FIELD)                                                                                      \
    FIELD(const float *, values) FIELD(long, stride) FIELD(long, shards) FIELD(long, rows) FIELD(long, n)              \
    FIELD(const int64_t *, merges) FIELD(float *, out) FIELD(long, node_stride)

/* Losses and gradient of softmax cross-entropy: outputs, grad (shards, rows, n); the rest (shards, rows).
 * class_weights: (n,) or null. The sums of the epoch are added to. */
#define CROSS_ENTROPY_FIELDS(FIELD)                                                                                    \
    FIELD(const float *, outputs) FIELD(long, outputs_stride) FIELD(const int64_t *, labels)                           \
    FIELD(const float *, weights) FIELD(const float *, class_weights)                                                  \
    FIELD(long, shards) FIELD(long, rows) FIELD(long, n) FIELD(float *, row_losses)                                    \
    FIELD(float *, grad) FIELD(long, grad_stride) FIELD(double *, epoch_losses) FIELD(int64_t *, epoch_hits)

/* out[start..stop] = (sum of the pieces in the order of additions) / divisor. pieces: addresses of whole vectors.
 * finite receives whether the slice is finite. */
#define REDUCE_FIELDS(FIELD)                                                                                           \
    FIELD(const float *const *, pieces) FIELD(long, num_pieces) FIELD(const int64_t *, additions)                      \
    FIELD(long, num_additions) FIELD(long, start) FIELD(long, stop) FIELD(double, divisor) FIELD(long, by_inverse)     \
    FIELD(float *, out) FIELD(int32_t *, finite)

/* kind: an enum kind. Nothing is done where one of the flags is 0. */
#define UPDATE_FIELDS(FIELD)                                                                                           \
    FIELD(const int32_t *, flags) FIELD(long, num_flags) FIELD(long, kind) FIELD(long, count)                          \
    FIELD(float *, parameters) FIELD(const float *, gradient) FIELD(const float *, decay)                              \
    FIELD(float *, first) FIELD(float *, second) FIELD(double, factor) FIELD(double, rate) FIELD(double, decay_rate)   \
    FIELD(double, momentum) FIELD(double, beta1) FIELD(double, one_minus_beta1) FIELD(double, beta2)                   \
    FIELD(double, one_minus_beta2) FIELD(double, second_scale) FIELD(double, epsilon)

/* features: (N, width) of item bytes, 1 for uint8 and 4 for float32; labels: (N,) whole numbers from 0 on of label_item
 * bytes. offset, scale: (width,) or null. indices: count of them, and behind them ahead more, of the rows that are taken next. */
#define GATHER_FIELDS(FIELD)                                                                                           \
    FIELD(const void *, features) FIELD(long, item) FIELD(long, width) FIELD(const void *, labels)                     \
    FIELD(long, label_item) FIELD(const int64_t *, indices) FIELD(long, count) FIELD(long, ahead)                      \
    FIELD(long, shards) FIELD(long, rows) FIELD(const float *, offset) FIELD(const float *, scale)                     \
    FIELD(float *, out) FIELD(long, out_stride) FIELD(int64_t *, labels_out) FIELD(float *, weights_out)

/* Waits for size processes or threads. words[0] counts arrivals, words[16] the rounds. given_up: null, or a word that is not 0
 * once a thread of this process will not come any more. */
#define BARRIER_FIELDS(FIELD)                                                                                          \
    FIELD(uint32_t *, words) FIELD(long, size) FIELD(long, spins) FIELD(const uint32_t *, given_up)

/* The kernels of an instruction set, and all operations: their order is that of their numbers. */
#define KERNELS(EACH)                                                                                                  \
    EACH(linear, LINEAR) EACH(gradient, GRADIENT) EACH(column_sums, COLUMN_SUMS) EACH(cross_entropy, CROSS_ENTROPY)    \
    EACH(reduce, REDUCE) EACH(update, UPDATE) EACH(gather, GATHER)
#define OPERATIONS(EACH) KERNELS(EACH) EACH(barrier, BARRIER)

#define MEMBER(type, name) type name;
#define STRUCT(name, NAME) struct name { NAME##_FIELDS(MEMBER) };
#define NUMBER(name, NAME) NAME,
#define POINTER(name, NAME) int (*name)(const struct name *);
OPERATIONS(STRUCT)
enum operation { OPERATIONS(NUMBER) };
struct kernels { KERNELS(POINTER) };

/* The letter that Python's ctypes has for the type. */
#define KIND(type) (_Generic((type)0, double: 'd', long: 'l', default: 'P'))
#define ENTRY(type, name) || add_field(fields, #name, KIND(type), offsetof(S, name), sizeof(type))
#define DESCRIPTION(name, NAME)                                                                                        \
    {                                                                                                                  \
        typedef struct name S;                                                                                         \
        PyObject *fields = failed ? NULL : PyList_New(0);                                                              \
        failed = !fields NAME##_FIELDS(ENTRY) || PyDict_SetItemString(structs, #name, fields);                         \
        Py_XDECREF(fields);                                                                                            \
    }

static int add_field(PyObject *fields, const char *name, int kind, size_t offset, size_t size)
{
    PyObject *field = Py_BuildValue("(sCnn)", name, kind, offset, size);
    const int failed = !field || PyList_Append(fields, field);
    Py_XDECREF(field);
    return failed;
}

/* Fills structs with {name: [(field, kind, offset, size)]} of all operations, in the order of their numbers. */
static int describe(PyObject *structs)
{
    int failed = 0;
    OPERATIONS(DESCRIPTION)
    return failed;
}
