/* curve.c - the loss curve of a small network, for comparison with another implementation step by step: the network and
   its batches are functions of fixed numbers, so the other side makes them itself (tests/peers/compare_training.py).

     build/tests/curve MODEL STEPS        writes the untrained network to MODEL, prints a loss a line
     build/tests/curve_double MODEL STEPS the same in double */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZENNET_IMPLEMENTATION
#include "zennet.h"

enum { BATCH = 12, SIDE = 32, CLASSES = 7 };

static int fail(zn_ctx *ctx) {
    fprintf(stderr, "curve: %s\n", zn_error_text(ctx));
    return 1;
}

int main(int argc, char **argv) {
    zn_net_opts o = zn_net_opts_default();
    zn_schedule schedule;
    zn_ctx *ctx = NULL;
    zn_net *net = NULL;
    zn_optimizer *sgd = NULL;
    zn_tensor *x, *target;
    int step, steps, i, labels[BATCH];
    if (argc != 3 || (steps = atoi(argv[2])) < 1) {
        fprintf(stderr, "usage: curve MODEL STEPS\n");
        return 2;
    }
    o.structure = "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE2K3(16,24,2,16,1)SuperResK3K3(24,32,2,32,1)SuperConvK1BNRELU(32,64,1,1)";
    o.classes = CLASSES;
    memset(&schedule, 0, sizeof schedule);
    schedule.lr = 0.05;
    schedule.epochs = 1;
    schedule.warmup = 0.05;
    schedule.samples = (double)steps * BATCH;
    if (zn_ctx_create(NULL, &ctx) != ZN_OK || zn_net_create(ctx, &o, &net) != ZN_OK || zn_net_init(net, ZN_INIT_MSRA, 1) != ZN_OK) return fail(ctx);
    for (i = 0; i < zn_net_tensor_count(net); ++i) { /* start values that a float holds: both builds begin alike */
        zn_tensor *t = zn_net_tensor(net, i);
        size_t j;
        for (j = 0; j < zn_tensor_count(t); ++j) zn_tensor_data(t)[j] = (zn_real)(float)zn_tensor_data(t)[j];
    }
    if (zn_net_save(net, argv[1]) != ZN_OK || zn_optimizer_create(ctx, net, NULL, &sgd) != ZN_OK) return fail(ctx);
    x = zn_tensor_create(ctx, zn_shape4(BATCH, 3, SIDE, SIDE));
    target = zn_tensor_create(ctx, zn_shape2(BATCH, CLASSES));
    if (x == NULL || target == NULL) return fail(ctx);
    for (step = 0; step < steps; ++step) {
        zn_tensor *loss;
        zn_fill(zn_tensor_data(x), "batch", (uint64_t)step, zn_tensor_count(x), -2, 2);
        for (i = 0; i < BATCH; ++i) { /* something to learn: the class is a shade of the first channel */
            int j;
            labels[i] = (step + 5 * i) % CLASSES;
            for (j = 0; j < SIDE * SIDE; ++j) zn_tensor_data(x)[i * 3 * SIDE * SIDE + j] += (zn_real)(0.25 * labels[i]);
        }
        zn_smooth_targets(labels, BATCH, CLASSES, 0.1, zn_tensor_data(target));
        loss = zn_cross_entropy(ctx, zn_net_forward(net, x, 1), target);
        printf("%.17g\n", zn_tensor_value(loss));
        if (zn_backward(ctx, loss) != ZN_OK || zn_optimizer_step(sgd, zn_schedule_lr(&schedule, (double)(step + 1) * BATCH)) != ZN_OK) return fail(ctx);
    }
    zn_optimizer_destroy(sgd);
    zn_net_destroy(net);
    zn_ctx_destroy(ctx);
    return 0;
}
