/* The kernels for one instruction set. kernels.c includes this file once for each, with these macros defined:
 *
 *   NAME(x)          x with the suffix of the instruction set
 *   LANES            floats of a vector
 *   VECTOR           its type, which has the operators of C, with SPREAD (one float to all lanes) and FMA(a, b, c) = a * b + c,
 *                    rounded once
 *   TRANSPOSE(from, from_stride, to, to_stride)   transposes BLOCK x BLOCK floats; BLOCK divides the panel
 *   PANEL_VECTORS    vectors of a panel of columns: TILE_ROWS * PANEL_VECTORS accumulators stay in registers
 *
 * Every output element is one chain of fused multiply-adds in ascending order of its index, starting from 0, whatever
 * the vectors, tiles and panels are. So the bits are the same for every instruction set, and a row's result does not
 * depend on the rows that are computed with it.
 *
 * Macros that this file defines in the same words each time stay.
 */

#define PANEL (PANEL_VECTORS * LANES)
#define LOAD(p) (*(const NAME(unaligned) *)(p))
#define STORE(p, v) (*(NAME(unaligned) *)(p) = (v))
#define ZERO ((VECTOR){0})

/* Rows of a matrix begin anywhere, and their floats are read as floats elsewhere. */
typedef VECTOR NAME(unaligned) __attribute__((aligned(4), may_alias));

/* What a tile goes through behind its chains: ``merges`` tiles that lie before ``sums`` are added, one after the other;
 * then, where ``scale`` is not 0, it is multiplied by it, and ``wrong`` (LANES) stays 0 as long as all is finite. */
struct NAME(ending) {
    const float *sums;
    long merges;
    float scale;
    float *wrong;
};

/* to (TILE_ROWS, PANEL, lines ``stride`` apart) = a (TILE_ROWS, depth) @ panel (depth, PANEL), where AT(i, k) is element k
 * of row i of a. The chains begin at the tile ``start``, or at 0 where it is null. */
#define MICRO(name, arguments, AT)                                                                                     \
    static inline void NAME(name)(arguments, const float *restrict panel, long depth, const float *start,              \
                                  struct NAME(ending) ending, float *to, long stride)                                  \
    {                                                                                                                  \
        VECTOR sum[TILE_ROWS][PANEL_VECTORS];                                                                          \
        UNROLL for (int i = 0; i < TILE_ROWS; i++)                                                                     \
            UNROLL for (int v = 0; v < PANEL_VECTORS; v++)                                                             \
                sum[i][v] = start ? LOAD(start + i * PANEL + v * LANES) : ZERO;                                        \
        for (long k = 0; k < depth; k++) {                                                                             \
            VECTOR right[PANEL_VECTORS];                                                                               \
            UNROLL for (int v = 0; v < PANEL_VECTORS; v++) right[v] = LOAD(panel + k * PANEL + v * LANES);             \
            UNROLL for (int i = 0; i < TILE_ROWS; i++) {                                                               \
                VECTOR left = SPREAD(AT(i, k));                                                                        \
                UNROLL for (int v = 0; v < PANEL_VECTORS; v++) sum[i][v] = FMA(left, right[v], sum[i][v]);             \
            }                                                                                                          \
        }                                                                                                              \
        for (; ending.merges > 0; ending.merges--) {                                                                   \
            ending.sums -= TILE_ROWS * PANEL;                                                                          \
            UNROLL for (int i = 0; i < TILE_ROWS; i++)                                                                 \
                UNROLL for (int v = 0; v < PANEL_VECTORS; v++)                                                         \
                    sum[i][v] = LOAD(ending.sums + i * PANEL + v * LANES) + sum[i][v];                                 \
        }                                                                                                              \
        if (ending.scale != 0.0f) {                                                                                    \
            VECTOR wrong = LOAD(ending.wrong);                                                                         \
            UNROLL for (int i = 0; i < TILE_ROWS; i++)                                                                 \
                UNROLL for (int v = 0; v < PANEL_VECTORS; v++) {                                                       \
                    sum[i][v] = sum[i][v] * SPREAD(ending.scale);                                                      \
                    wrong = FMA(sum[i][v], ZERO, wrong);                                                               \
                }                                                                                                      \
            STORE(ending.wrong, wrong);                                                                                \
        }                                                                                                              \
        UNROLL for (int i = 0; i < TILE_ROWS; i++)                                                                     \
            UNROLL for (int v = 0; v < PANEL_VECTORS; v++) STORE(to + i * stride + v * LANES, sum[i][v]);              \
    }

#define ROW_AT(i, k) row[i][k]
MICRO(micro_rows, const float *const *row, ROW_AT)
#define PACKED_AT(i, k) packed[(k) * TILE_ROWS + (i)]
MICRO(micro_packed, const float *restrict packed, PACKED_AT)

/* panel (depth, PANEL) = columns first .. first + count of a (depth, n) matrix, zeros behind them. */
static void NAME(pack)(const float *from, long n, long depth, long first, long count, float *restrict panel)
{
    for (long k = 0; k < depth; k++, panel += PANEL) {
        const float *line = from + k * n + first;
        if (count == PANEL) {
            UNROLL for (int v = 0; v < PANEL_VECTORS; v++) STORE(panel + v * LANES, LOAD(line + v * LANES));
        } else {
            for (long j = 0; j < PANEL; j++) panel[j] = j < count ? line[j] : 0.0f;
        }
    }
}

/* The same of the transpose of a (n, length) matrix, of its columns start .. start + depth. */
static void NAME(pack_transposed)(const float *from, long length, long depth, long first, long count,
                                  float *restrict panel)
{
    for (long j = 0; j < PANEL; j += BLOCK) {
        const float *line = from + (first + j) * length;
        long k = 0;
        if (j + BLOCK <= count)
            for (; k + BLOCK <= depth; k += BLOCK) TRANSPOSE(line + k, length, panel + k * PANEL + j, PANEL);
        for (; k < depth; k++)
            for (long i = 0; i < BLOCK; i++) panel[k * PANEL + j + i] = j + i < count ? line[i * length + k] : 0.0f;
    }
}

/* ``count`` sums of a row on their way to out, gate and bias: see struct linear. */
static inline void NAME(epilogue)(const struct linear *task, const float *restrict sum, const float *restrict bias,
                                  const float *restrict gate, float *restrict out, long count)
{
    if (bias && task->relu)
        for (long j = 0; j < count; j++) {
            const float z = sum[j] + bias[j];
            out[j] = z < 0.0f ? 0.0f : z;
        }
    else if (bias)
        for (long j = 0; j < count; j++) out[j] = sum[j] + bias[j];
    else if (gate)
        for (long j = 0; j < count; j++) out[j] = gate[j] > 0.0f ? sum[j] : 0.0f;
    else if (task->relu)
        for (long j = 0; j < count; j++) out[j] = sum[j] < 0.0f ? 0.0f : sum[j];
    else
        for (long j = 0; j < count; j++) out[j] = sum[j];
}

/* out = epilogue(a @ b): see struct linear. */
static int NAME(linear)(const struct linear *task)
{
    const long rows = task->shards * task->rows, depth = task->depth, n = task->n;
    const long most = depth < DEPTH_BLOCK ? depth : DEPTH_BLOCK;
    /* With several blocks of the depth the unfinished tiles of a panel are kept. */
    const long tiles = depth > most ? (rows + TILE_ROWS - 1) / TILE_ROWS : 1;
    float *panel = scratch((most + tiles * TILE_ROWS) * PANEL);
    if (!panel) return NO_MEMORY;
    float *tile = panel + most * PANEL;
    const struct NAME(ending) nothing = {0, 0, 0.0f, 0};

    for (long first = 0; first < n; first += PANEL) {
        const long count = n - first < PANEL ? n - first : PANEL;
        const float *bias = task->bias ? task->bias + first : 0;
        for (long start = 0; start < depth; start += most) {
            const long block = depth - start < most ? depth - start : most;
            if (task->transposed)
                NAME(pack_transposed)(task->b + start, depth, block, first, count, panel);
            else
                NAME(pack)(task->b + start * n, n, block, first, count, panel);
            long shard = 0, r = 0, ahead = task->transposed || first + PANEL >= n ? block : 0;
            for (long top = 0; top < rows; top += TILE_ROWS) {
                const long height = rows - top < TILE_ROWS ? rows - top : TILE_ROWS;
                float *own = tile + (tiles > 1 ? top * PANEL : 0);
                const float *row[TILE_ROWS];
                long offset[TILE_ROWS];
                for (long i = 0; i < TILE_ROWS; i++) {
                    if (i >= height) {
                        row[i] = row[0];
                        continue;
                    }
                    row[i] = task->a + shard * task->a_stride + r * depth + start;
                    offset[i] = shard * task->out_stride + r * n + first;
                    if (++r == task->rows) r = 0, shard++;
                }
                /* The lines of the next panel come near while this one is used. */
                for (const long stop = block * (top + height) / rows; ahead < stop; ahead++)
                    __builtin_prefetch(task->b + (start + ahead) * n + first + PANEL);
                NAME(micro_rows)(row, panel, block, start > 0 ? own : 0, nothing, own, PANEL);
                if (start + block < depth) continue;
                for (long i = 0; i < height; i++) {
                    const float *gate = task->gate ? task->gate + offset[i] : 0;
                    NAME(epilogue)(task, own + i * PANEL, bias, gate, task->out + offset[i], count);
                }
            }
        }
    }
    return 0;
}

static inline void NAME(add)(float *restrict left, const float *restrict right, long length)
{
    for (long j = 0; j < length; j++) left[j] += right[j];
}

/* to (rows of all shards, TILE_ROWS) = a strip of the inputs from ``first`` on, zeros behind them: see struct gradient. Two
 * floats behind it are written to as well. */
static inline void NAME(pack_strip)(const struct gradient *task, long first, float *to)
{
    const long height = task->inputs - first;
    for (long s = 0; s < task->shards; s++) {
        const float *line = task->input + s * task->input_stride + first;
        if (height >= 8)
            for (long r = 0; r < task->rows; r++, line += task->width, to += TILE_ROWS) memcpy(to, line, 8 * sizeof(float));
        else
            for (long r = 0; r < task->rows; r++, line += task->width, to += TILE_ROWS)
                for (long i = 0; i < TILE_ROWS; i++) to[i] = i < height ? line[i] : 0.0f;
    }
}

/* out (height, count) = tile (TILE_ROWS, PANEL) over the divisor of struct gradient, by 1 if that is 0. Returns whether all
 * of it is finite. */
static int NAME(finish)(const struct gradient *task, const float *tile, long height, long count, float *out)
{
    const float divisor = task->divisor == 0.0 ? 1.0f : (float)task->divisor;
    int finite = 1;
    for (long i = 0; i < height; i++, tile += PANEL, out += task->outputs)
        for (long j = 0; j < count; j++) {
            out[j] = tile[j] / divisor;
            finite &= (bits_of(out[j]) & EXPONENT) != EXPONENT;
        }
    return finite;
}

/* The gradient of a weight, summed over shards in the order of the tree: see struct gradient. */
static int NAME(gradient)(const struct gradient *task)
{
    const long rows = task->rows, m = task->inputs, n = task->outputs, shards = task->shards, total = shards * rows;
    const long panels = (n + PANEL - 1) / PANEL, tile = TILE_ROWS * PANEL;
    long sums = 0, highest = 1;
    for (long s = 0; s < shards; s++) {
        sums += 1 - task->merges[s];
        highest = sums > highest ? sums : highest;
    }
    const long tower = highest * tile; /* the sums at hand of a strip */
    /* The strips of the left side are packed in blocks: a panel of one shard then stays near while a block passes. */
    const long most = total > 4096 ? 1 : STRIPS;
    const long strip_size = total * TILE_ROWS + 2;
    float *packed_right = scratch(panels * total * PANEL + most * (strip_size + tower));
    if (!packed_right) return NO_MEMORY;
    float *packed_left = packed_right + panels * total * PANEL, *stacks = packed_left + most * strip_size;
    float wrong[LANES] = {0};
    /* Where the divisor is a power of two, multiplying by its inverse rounds in the same way, and is faster. */
    const float scale = task->by_inverse && task->divisor != 0.0 ? 1.0f / (float)task->divisor : 0.0f;
    int finite = 1;

    for (long p = 0; p < panels; p++)
        for (long s = 0; s < shards; s++)
            NAME(pack)(task->grad + s * task->grad_stride, n, rows, p * PANEL, n - p * PANEL < PANEL ? n - p * PANEL : PANEL,
                       packed_right + (p * total + s * rows) * PANEL);
    for (long block = 0; block < m; block += most * TILE_ROWS) {
        const long strips = m - block < most * TILE_ROWS ? (m - block + TILE_ROWS - 1) / TILE_ROWS : most;
        for (long strip = 0; strip < strips; strip++)
            NAME(pack_strip)(task, block + strip * TILE_ROWS, packed_left + strip * strip_size);
        for (long p = 0; p < panels; p++) {
            const long count = n - p * PANEL < PANEL ? n - p * PANEL : PANEL;
            long level = 0;
            for (long s = 0; s < shards; s++, level++) {
                const long merges = task->merges[s];
                level -= merges;
                for (long strip = 0; strip < strips; strip++) {
                    const long first = block + strip * TILE_ROWS, height = m - first < TILE_ROWS ? m - first : TILE_ROWS;
                    float *stack = stacks + strip * tower, *sum = stack + level * tile, *corner = task->out + first * n + p * PANEL;
                    /* The sum of all shards goes where it belongs, without a stop in the stack. */
                    const int last = s + 1 == shards, whole = height == TILE_ROWS && count == PANEL;
                    const int direct = last && level == 0 && whole && (scale != 0.0f || task->divisor == 0.0);
                    const struct NAME(ending) ending = {sum + merges * tile, merges, direct ? scale : 0.0f, wrong};
                    NAME(micro_packed)(packed_left + strip * strip_size + s * rows * TILE_ROWS,
                                       packed_right + (p * total + s * rows) * PANEL, rows, 0, ending, direct ? corner : sum,
                                       direct ? n : PANEL);
                    for (long node = 0; last && !direct && node <= level; node++)
                        finite &= NAME(finish)(task, stack + node * tile, height, count, corner + node * task->node_stride);
                }
            }
        }
    }
    for (long j = 0; j < LANES; j++) finite &= wrong[j] == 0.0f; /* a finite number times 0 is 0 */
    if (task->finite) *task->finite = finite;
    return 0;
}

/* Sums over the rows of each shard, then over shards in the order of the tree: see struct column_sums. */
static int NAME(column_sums)(const struct column_sums *task)
{
    const long n = task->n;
    float *stack = scratch(task->shards * n);
    if (!stack) return NO_MEMORY;
    float *top = stack;
    for (long s = 0; s < task->shards; s++, top += n) {
        for (long j = 0; j < n; j++) top[j] = 0.0f;
        for (long r = 0; r < task->rows; r++) NAME(add)(top, task->values + s * task->stride + r * n, n);
        for (int merge = task->merges[s]; merge > 0; merge--, top -= n) NAME(add)(top - n, top, n);
    }
    const long nodes = (top - stack) / n;
    for (long node = 0; node < nodes; node++)
        for (long j = 0; j < n; j++) task->out[node * task->node_stride + j] = stack[node * n + j];
    return 0;
}

/* Softmax cross-entropy and its derivative: see struct cross_entropy. */
static int NAME(cross_entropy)(const struct cross_entropy *task)
{
    const long n = task->n;
    double *restrict powers = (double *)scratch(2 * n);
    if (!powers) return NO_MEMORY;
    for (long s = 0; s < task->shards; s++)
        for (long r = 0; r < task->rows; r++) {
            const long row = s * task->rows + r, label = task->labels[row];
            const float *restrict z = task->outputs + s * task->outputs_stride + r * n;
            float *restrict grad = task->grad + s * task->grad_stride + r * n;
            float weight = task->weights[row];
            const int counts = weight > 0.0f;
            if (task->class_weights) weight *= task->class_weights[label];
            long best = 0;
            int wrong = z[0] != z[0];
            for (long j = 1; j < n; j++) {
                wrong |= z[j] != z[j];
                if (z[j] > z[best]) best = j;
            }
            double total = 0.0;
            const double shift = z[best];
            for (long j = 0; j < n; j++) powers[j] = exponential((double)z[j] - shift);
            for (long j = 0; j < n; j++) total += powers[j];
            if (wrong) total = NAN;
            for (long j = 0; j < n; j++) grad[j] = (float)(powers[j] / total) * weight;
            grad[label] = (float)(powers[label] / total - 1.0) * weight;
            const float loss = (float)(logarithm(total) - ((double)z[label] - (double)z[best])) * weight;
            task->row_losses[row] = loss;
            task->epoch_losses[row] += (double)loss;
            task->epoch_hits[row] += counts && !wrong && best == label;
        }
    return 0;
}

/* The ordered sum of one slice of several vectors: see struct reduce. */
static int NAME(reduce)(const struct reduce *task)
{
    int finite = 1;
    const float divisor = task->divisor, inverse = 1.0f / divisor;
    float sum[REDUCE_BLOCK];
    float *others = task->num_pieces > 2 ? scratch(task->num_pieces * REDUCE_BLOCK) : 0;
    if (task->num_pieces > 2 && !others) return NO_MEMORY;
    for (long start = task->start; start < task->stop; start += REDUCE_BLOCK) {
        const long count = task->stop - start < REDUCE_BLOCK ? task->stop - start : REDUCE_BLOCK;
        const float *restrict total = task->pieces[0] + start;
        if (task->num_pieces == 2) {
            const float *restrict left = total, *restrict right = task->pieces[1] + start;
            for (long j = 0; j < count; j++) sum[j] = left[j] + right[j];
            total = sum;
        } else if (task->num_pieces > 2) {
            for (long p = 0; p < task->num_pieces; p++)
                memcpy(others + p * REDUCE_BLOCK, task->pieces[p] + start, count * sizeof(float));
            for (long a = 0; a < task->num_additions; a++)
                NAME(add)(others + task->additions[2 * a] * REDUCE_BLOCK, others + task->additions[2 * a + 1] * REDUCE_BLOCK, count);
            total = others;
        }
        float *restrict out = task->out + start;
        unsigned wrong = 0;
        /* Where the divisor is a power of two, multiplying by its inverse rounds in the same way, and is faster. */
        if (task->by_inverse)
            for (long j = 0; j < count; j++) out[j] = total[j] * inverse;
        else
            for (long j = 0; j < count; j++) out[j] = total[j] / divisor;
        for (long j = 0; j < count; j++) wrong |= (bits_of(out[j]) & EXPONENT) == EXPONENT;
        finite &= !wrong;
    }
    *task->finite = finite;
    return 0;
}

/* One update of a slice of the parameters: see struct update. Every operation rounds once. */
static int NAME(update)(const struct update *task)
{
    for (long i = 0; i < task->num_flags; i++)
        if (!task->flags[i]) return 0;
    const long count = task->count;
    const float rate = task->rate, decay_rate = task->decay_rate, momentum = task->momentum, factor = task->factor;
    const float beta1 = task->beta1, one_minus_beta1 = task->one_minus_beta1, beta2 = task->beta2;
    const float one_minus_beta2 = task->one_minus_beta2, second_scale = task->second_scale, epsilon = task->epsilon;
    float *restrict p = task->parameters, *restrict first = task->first, *restrict second = task->second;
    const float *restrict gradient = task->gradient, *restrict decay = task->decay;
    float block[REDUCE_BLOCK];
    for (long start = 0; start < count; start += REDUCE_BLOCK) {
        const long size = count - start < REDUCE_BLOCK ? count - start : REDUCE_BLOCK;
        float *restrict q = p + start, *restrict f = first + start, *restrict s = second + start;
        const float *restrict g = gradient + start;
        if (factor != 1.0f) {
            for (long j = 0; j < size; j++) block[j] = g[j] * factor;
            g = block;
        }
        if (decay) {
            const float *restrict d = decay + start;
            if (task->kind == ADAMW) {
                for (long j = 0; j < size; j++) q[j] -= q[j] * d[j] * decay_rate;
            } else {
                for (long j = 0; j < size; j++) block[j] = g[j] + q[j] * d[j];
                g = block;
            }
        }
        switch (task->kind) {
        case SGD:
            for (long j = 0; j < size; j++) q[j] -= g[j] * rate;
            break;
        case MOMENTUM:
            for (long j = 0; j < size; j++) {
                f[j] = f[j] * momentum + g[j];
                q[j] -= f[j] * rate;
            }
            break;
        case NESTEROV:
            for (long j = 0; j < size; j++) {
                f[j] = f[j] * momentum + g[j];
                q[j] -= (g[j] + f[j] * momentum) * rate;
            }
            break;
        default:
            for (long j = 0; j < size; j++) {
                f[j] = f[j] * beta1 + g[j] * one_minus_beta1;
                s[j] = s[j] * beta2 + g[j] * g[j] * one_minus_beta2;
                q[j] -= f[j] / (sqrtf(s[j] / second_scale) + epsilon) * rate;
            }
        }
    }
    return 0;
}

/* Rows of stored samples, converted and normalised: see struct gather. */
static int NAME(gather)(const struct gather *task)
{
    const long width = task->width, total = task->shards * task->rows;
    for (long r = 0; r < total; r++) {
        float *restrict out = task->out + r / task->rows * task->out_stride + r % task->rows * width;
        if (r >= task->count) {
            for (long j = 0; j < width; j++) out[j] = 0.0f;
            task->labels_out[r] = 0;
            task->weights_out[r] = 0.0f;
            continue;
        }
        const long index = task->indices[r];
        /* The rows of the next call are asked for one by one, while those of this one are converted. */
        if (r < task->ahead) {
            const char *next = (const char *)task->features + task->indices[task->count + r] * width * task->item;
            for (long byte = 0; byte < width * task->item && byte < 4096; byte += 64) __builtin_prefetch(next + byte, 0, 1);
        }
        if (task->item == 1) {
            const unsigned char *restrict from = (const unsigned char *)task->features + index * width;
            for (long j = 0; j < width; j++) out[j] = (float)from[j];
        } else {
            memcpy(out, (const float *)task->features + index * width, width * sizeof(float));
        }
        if (task->offset)
            for (long j = 0; j < width; j++) out[j] -= task->offset[j];
        if (task->scale)
            for (long j = 0; j < width; j++) out[j] *= task->scale[j];
        task->labels_out[r] = label_at(task->labels, task->label_item, index);
        task->weights_out[r] = 1.0f;
    }
    return 0;
}

static const struct kernels NAME(kernels) = {
    NAME(linear), NAME(gradient), NAME(column_sums), NAME(cross_entropy), NAME(reduce), NAME(update), NAME(gather),
};

#undef NAME
#undef LANES
#undef VECTOR
#undef SPREAD
#undef FMA
#undef TRANSPOSE
#undef BLOCK
#undef PANEL_VECTORS
