/* toy_face.h - draws one face with one of eight expressions: what toy_faces writes by the thousand.

   toy_face_draw(seed, index, expression, size, rgb) is a pure function: the same four numbers give the same picture. The
   expression moves brows, lids, mouth, nose and cheeks by its row of toy_mimics, more or less strongly and with scatter;
   everything else - who it is, pose, light, hair, glasses, what is in front, noise, blur - is independent of it and moves
   far more pixels, so that a classifier linear in them finds little. Include zennet.h (random numbers) before this.

   Face units: u to the right and v down from the face's centre; the face is 1 wide from there and about 1.3 high. A shape
   gives its coverage 0..1 of a point, softened over one pixel; shapes are laid over each other in order. */
#ifndef ZENNET_TOY_FACE_H
#define ZENNET_TOY_FACE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOY_SURPRISE, TOY_FEAR, TOY_DISGUST, TOY_HAPPINESS, TOY_SADNESS, TOY_ANGER, TOY_NEUTRAL, TOY_CONTEMPT, TOY_EXPRESSIONS };

/* How hard the set is. */
#define TOY_STRENGTH_LOW 0.85 /* weakest expression, as a share of its row */
#define TOY_STRENGTH_HIGH 1.2
#define TOY_SCATTER 0.05      /* each part's own deviation, whatever the expression */
#define TOY_TURN 0.145         /* pose: largest turn in the plane, radians */
#define TOY_SHIFT 0.05        /* largest shift, share of the side */
#define TOY_OCCLUDED 0.2      /* share of faces with something in front */

enum {
    TOY_BROW,        /* raised (v up) */
    TOY_BROW_INNER,  /* inner ends raised on top of that */
    TOY_BROW_ARCH,
    TOY_LID,         /* eye opened wider; negative narrows */
    TOY_LID_LOWER,   /* lower lid pushed up */
    TOY_MOUTH_WIDE,
    TOY_MOUTH_CORNER, /* corners up */
    TOY_MOUTH_OPEN,
    TOY_MOUTH_LIP,   /* upper lip drawn up */
    TOY_NOSE,        /* wrinkled */
    TOY_CHEEK,       /* folds from nose to mouth */
    TOY_ONE_SIDED,   /* one corner up */
    TOY_PARTS
};
/* Several ways to wear an expression: rows of one are chosen evenly. */
typedef struct toy_mimic {
    int expression;
    double part[TOY_PARTS];
} toy_mimic;
static const toy_mimic toy_mimics[] = {
    /*                 brow  inner arch  lid   lower wide  corner open lip   nose cheek side */
    {TOY_SURPRISE,  {  0.9,  0.1,  0.6,  0.9, -0.2, -0.5,  0.0,  1.0, 0.0,  0.0, 0.0,  0.0}},
    {TOY_SURPRISE,  {  0.8,  0.1,  0.7,  0.8, -0.2, -0.4,  0.0,  0.6, 0.0,  0.0, 0.0,  0.0}},
    {TOY_FEAR,      {  0.5,  0.8, -0.5,  0.8,  0.1,  0.5, -0.5,  0.5, 0.0,  0.0, 0.2,  0.0}},
    {TOY_FEAR,      {  0.4,  0.9, -0.5,  0.7,  0.0,  0.4, -0.4,  0.3, 0.0,  0.0, 0.1,  0.0}},
    {TOY_DISGUST,   { -0.5, -0.3,  0.0, -0.6,  0.8,  0.0, -0.4,  0.1, 1.0,  1.0, 0.8,  0.0}},
    {TOY_DISGUST,   { -0.4, -0.2,  0.0, -0.5,  0.7,  0.1, -0.5,  0.3, 0.9,  1.0, 0.9,  0.0}},
    {TOY_HAPPINESS, {  0.1,  0.0,  0.2, -0.3,  0.6,  0.5,  1.0,  0.1, 0.0,  0.0, 0.7,  0.0}},
    {TOY_HAPPINESS, {  0.2,  0.0,  0.2, -0.4,  0.7,  0.6,  1.0,  0.6, 0.0,  0.0, 0.8,  0.0}},
    {TOY_SADNESS,   {  0.1,  1.0, -0.2, -0.6,  0.0, -0.2, -1.0,  0.0, 0.0,  0.0, 0.1,  0.0}},
    {TOY_SADNESS,   {  0.0,  0.9, -0.3, -0.5,  0.1, -0.1, -0.9,  0.1, 0.0,  0.0, 0.2,  0.0}},
    {TOY_ANGER,     { -0.6, -0.9,  0.1,  0.3,  0.4,  0.0, -0.5,  0.0, 0.0,  0.1, 0.1,  0.0}},
    {TOY_ANGER,     { -0.6, -0.9,  0.1,  0.4,  0.5,  0.3, -0.3,  0.6, 0.3,  0.2, 0.4,  0.0}},
    {TOY_NEUTRAL,   {  0.0,  0.0,  0.0,  0.0,  0.0,  0.0,  0.0,  0.0, 0.0,  0.0, 0.0,  0.0}},
    {TOY_CONTEMPT,  { -0.1, -0.1,  0.0, -0.3,  0.3,  0.0,  0.0,  0.0, 0.1,  0.0, 0.3,  1.0}},
};

typedef struct toy_canvas {
    int size;
    double *rgb;         /* size * size * 3, 0..1 */
    double x, y, radius; /* the face's centre and its unit, pixels */
    double cosine, sine, turned, nodded; /* turned, nodded: features move against the head */
} toy_canvas;

/* Shapes: a stroke or a lens. Both stand on curves v = a + b t + c t^2 over t = -1..1 of a half width. */
typedef struct toy_curve {
    double u, v, half;   /* middle and half width */
    double slope, bend;  /* v at t: slope * t + bend * t^2 */
    double lift;         /* of the half t > 0 only: lift * t^2 */
} toy_curve;
typedef struct toy_shape {
    toy_curve curve;     /* of a stroke, or the upper edge of a lens */
    double thick, taper; /* stroke: half thickness, share lost towards t = 1 */
    double up, down;     /* lens: how far it opens above and below the curve in its middle */
    int round;           /* lens: an ellipse's edge instead of a parabola's */
} toy_shape;

static double toy_curve_at(const toy_curve *c, double t, double *slope) {
    double lift = t > 0 ? c->lift : 0;
    *slope = (c->slope + 2 * (c->bend + lift) * t) / c->half;
    return c->v + c->slope * t + (c->bend + lift) * t * t;
}
static double toy_soft(double distance, double pixel) {
    double cover = 0.5 - distance / pixel;
    return cover <= 0 ? 0 : cover >= 1 ? 1 : cover;
}
static double toy_stroke(const toy_shape *s, double u, double v, double pixel) {
    double t = (u - s->curve.u) / s->curve.half, near = t < -1 ? -1 : t > 1 ? 1 : t, slope;
    double dv = v - toy_curve_at(&s->curve, near, &slope), du = (t - near) * s->curve.half;
    double distance = sqrt(du * du + dv * dv / (1 + slope * slope));
    return toy_soft(distance - s->thick * (1 - s->taper * (near + 1) / 2), pixel);
}
static double toy_lens(const toy_shape *s, double u, double v, double pixel) {
    double t = (u - s->curve.u) / s->curve.half, slope, middle, open, above, below;
    if (t <= -1 || t >= 1) return 0;
    middle = toy_curve_at(&s->curve, t, &slope);
    open = s->round ? sqrt(1 - t * t) : 1 - t * t;
    above = middle - s->up * open - v;
    below = v - middle - s->down * open;
    return toy_soft(above > below ? above : below, pixel);
}
static double toy_ellipse(const toy_shape *s, double u, double v, double pixel) { /* half by up, around the curve's middle */
    double x = (u - s->curve.u) / s->curve.half, y = (v - s->curve.v) / s->up, r = sqrt(x * x + y * y);
    return toy_soft((r - 1) * (s->curve.half < s->up ? s->curve.half : s->up), pixel);
}
static double toy_ring(const toy_shape *s, double u, double v, double pixel) {
    double x = (u - s->curve.u) / s->curve.half, y = (v - s->curve.v) / s->up, r = sqrt(x * x + y * y);
    return toy_soft(fabs(r - 1) * s->up - s->thick, pixel);
}

static toy_shape toy_at(double u, double v, double half, double up) {
    toy_shape s;
    memset(&s, 0, sizeof s);
    s.curve.u = u;
    s.curve.v = v;
    s.curve.half = half;
    s.up = s.down = up;
    return s;
}

typedef double (*toy_cover_fn)(const toy_shape *s, double u, double v, double pixel);

/* Pixel to face units; head: those of the head's outline, otherwise those of the features. */
static void toy_to_face(const toy_canvas *c, double x, double y, int head, double *u, double *v) {
    double dx = (x - c->x) / c->radius, dy = (y - c->y) / c->radius;
    *u = c->cosine * dx + c->sine * dy;
    *v = -c->sine * dx + c->cosine * dy;
    if (head) return;
    *u -= c->turned * (1 - 0.4 * *u * *u);
    *v -= c->nodded;
}
/* Lays color over where the shape covers, times alpha; reach bounds the shape around its middle, face units. clip (may
   be NULL) limits it to what that lens covers. */
static void toy_paint(toy_canvas *c, toy_cover_fn cover, const toy_shape *s, const toy_shape *clip, double reach, const double color[3],
                      double alpha, int head) {
    double pixel = 1 / c->radius, u = s->curve.u + (head ? 0 : c->turned), v = s->curve.v + (head ? 0 : c->nodded);
    double x = c->x + c->radius * (c->cosine * u - c->sine * v), y = c->y + c->radius * (c->sine * u + c->cosine * v);
    double r = c->radius * reach + 2;
    int x0 = (int)floor(x - r), x1 = (int)ceil(x + r), y0 = (int)floor(y - r), y1 = (int)ceil(y + r), i, j, k;
    if (x0 < 0) x0 = 0;
    if (y0 < 0) y0 = 0;
    if (x1 > c->size - 1) x1 = c->size - 1;
    if (y1 > c->size - 1) y1 = c->size - 1;
    for (j = y0; j <= y1; ++j)
        for (i = x0; i <= x1; ++i) {
            double *p = c->rgb + ((size_t)j * (size_t)c->size + (size_t)i) * 3, a;
            toy_to_face(c, i + 0.5, j + 0.5, head, &u, &v);
            a = alpha * cover(s, u, v, pixel);
            if (a > 0 && clip != NULL) a *= toy_lens(clip, u, v, pixel);
            if (a <= 0) continue;
            for (k = 0; k < 3; ++k) p[k] += a * (color[k] - p[k]);
        }
}

typedef struct toy_look { /* who it is; independent of the expression */
    double skin[3], hair[3], lip[3], iris[3], dark[3], white[3];
    double part[TOY_PARTS]; /* the expression, with this face's scatter */
    double eye_apart, eye_size, brow_thick, mouth_low, nose_long, height;
} toy_look;

static double toy_between(zn_rng *rng, double low, double high) { return low + (high - low) * zn_rng_uniform(rng); }
static void toy_color(double out[3], double r, double g, double b) {
    out[0] = r;
    out[1] = g;
    out[2] = b;
}
static void toy_random_color(zn_rng *rng, double out[3]) {
    int k;
    for (k = 0; k < 3; ++k) out[k] = toy_between(rng, 0.05, 0.95);
}
static void toy_mix(double out[3], const double a[3], const double b[3], double share) {
    int k;
    for (k = 0; k < 3; ++k) out[k] = a[k] + share * (b[k] - a[k]);
}

static void toy_look_draw(zn_rng *rng, int expression, toy_look *look) {
    static const double fair[3] = {0.96, 0.80, 0.70}, deep[3] = {0.36, 0.22, 0.15}, gray[3] = {0.75, 0.72, 0.7}, black[3] = {0.08, 0.06, 0.05};
    double strength = toy_between(rng, TOY_STRENGTH_LOW, TOY_STRENGTH_HIGH);
    int k, ways = 0, chosen, count = (int)(sizeof toy_mimics / sizeof toy_mimics[0]);
    const toy_mimic *m = toy_mimics;
    while (m->expression != expression) ++m;
    while (m + ways < toy_mimics + count && m[ways].expression == expression) ++ways;
    chosen = (int)zn_rng_below(rng, (uint64_t)ways);
    for (k = 0; k < TOY_PARTS; ++k) look->part[k] = strength * m[chosen].part[k] + TOY_SCATTER * zn_rng_normal(rng);
    if (zn_rng_below(rng, 2)) look->part[TOY_ONE_SIDED] = -look->part[TOY_ONE_SIDED];
    toy_mix(look->skin, fair, deep, pow(zn_rng_uniform(rng), 1.3));
    for (k = 0; k < 3; ++k) look->skin[k] *= toy_between(rng, 0.93, 1.07);
    toy_random_color(rng, look->hair);
    toy_mix(look->hair, zn_rng_below(rng, 5) < 2 ? gray : black, look->hair, toy_between(rng, 0, 0.35)); /* light brows as well as dark ones */
    toy_color(look->lip, look->skin[0] * 0.85, look->skin[1] * toy_between(rng, 0.45, 0.75), look->skin[2] * 0.65);
    toy_color(look->iris, toy_between(rng, 0.1, 0.4), toy_between(rng, 0.15, 0.5), toy_between(rng, 0.1, 0.6));
    toy_color(look->dark, 0.10, 0.06, 0.05);
    toy_color(look->white, 0.93, 0.92, 0.9);
    look->eye_apart = toy_between(rng, 0.35, 0.43);
    look->eye_size = toy_between(rng, 0.2, 0.24);
    look->brow_thick = toy_between(rng, 0.022, 0.05);
    look->mouth_low = toy_between(rng, 0.56, 0.68);
    look->nose_long = toy_between(rng, 0.1, 0.2);
    look->height = toy_between(rng, 1.18, 1.38);
}

static void toy_brow_and_eye(toy_canvas *c, const toy_look *look, int side, double gaze) {
    const double *p = look->part;
    double w = look->eye_size, u = side * look->eye_apart, v = -0.22, open = 0.105 * (1 + 0.75 * p[TOY_LID]), shade[3];
    toy_shape eye = toy_at(u, v, w, open > 0.012 ? open : 0.012), iris, lid, brow;
    eye.down = 0.06 * (1 - 0.7 * p[TOY_LID_LOWER]);
    eye.curve.slope = 0.02 * side * (p[TOY_BROW_INNER] > 0 ? 1 : 0);
    toy_mix(shade, look->skin, look->dark, 0.35);
    lid = toy_at(u, v - 0.02, w * 1.15, open + 0.05); /* the socket, and the crease above */
    lid.down = eye.down + 0.05;
    toy_paint(c, toy_lens, &lid, NULL, 0.35, shade, 0.35, 0);
    toy_paint(c, toy_lens, &eye, NULL, 0.3, look->white, 1, 0);
    iris = toy_at(u + gaze, v - 0.02, 0.085, 0.085);
    toy_paint(c, toy_ellipse, &iris, &eye, 0.2, look->iris, 1, 0);
    iris.curve.half = iris.up = 0.042;
    toy_paint(c, toy_ellipse, &iris, &eye, 0.2, look->dark, 1, 0);
    lid = eye;
    lid.curve.v = v - eye.up;
    lid.curve.bend = eye.up;
    lid.thick = 0.024;
    toy_paint(c, toy_stroke, &lid, NULL, 0.35, look->dark, 0.9, 0);
    lid.curve.v = v + eye.down;
    lid.curve.bend = -eye.down;
    lid.thick = 0.01 + 0.012 * (p[TOY_LID_LOWER] > 0 ? p[TOY_LID_LOWER] : 0);
    toy_paint(c, toy_stroke, &lid, NULL, 0.35, shade, 0.8, 0);
    brow = toy_at(u + side * 0.01, -0.46 - 0.12 * p[TOY_BROW] - 0.045 * p[TOY_BROW_INNER], w * 1.25, 0);
    brow.curve.slope = 0.085 * side * p[TOY_BROW_INNER] + 0.01 * side;
    brow.curve.bend = 0.035 + 0.05 * p[TOY_BROW_ARCH];
    brow.thick = look->brow_thick;
    brow.taper = side > 0 ? 0.5 : 0.1;
    toy_paint(c, toy_stroke, &brow, NULL, 0.45, look->hair, 0.95, 0);
}

static void toy_nose_and_folds(toy_canvas *c, const toy_look *look) {
    const double *p = look->part;
    double shade[3], tip = 0.08 + look->nose_long - 0.04 * (p[TOY_NOSE] > 0 ? p[TOY_NOSE] : 0);
    toy_shape s;
    int side, i;
    toy_mix(shade, look->skin, look->dark, 0.5);
    s = toy_at(0, tip, 0.13, 0);
    s.curve.bend = -0.05;
    s.thick = 0.018;
    toy_paint(c, toy_stroke, &s, NULL, 0.25, shade, 0.8, 0);
    s = toy_at(0.07, tip * 0.5 - 0.05, 0.02, 0);
    s.curve.slope = 0.2;
    s.thick = 0.012;
    toy_paint(c, toy_stroke, &s, NULL, 0.35, shade, 0.35, 0);
    for (side = -1; side <= 1; side += 2) {
        for (i = 0; i < 3 && p[TOY_NOSE] > 0.25; ++i) { /* wrinkles beside the bridge */
            s = toy_at(side * 0.08, -0.16 + 0.075 * i, 0.06, 0);
            s.curve.slope = side * 0.04;
            s.thick = 0.013;
            toy_paint(c, toy_stroke, &s, NULL, 0.15, shade, 0.8 * (p[TOY_NOSE] < 1 ? p[TOY_NOSE] : 1), 0);
        }
        if (p[TOY_CHEEK] < 0.15) continue;
        s = toy_at(side * 0.36, tip + 0.17, 0.12, 0);
        s.curve.slope = side * 0.16;
        s.curve.bend = 0.04;
        s.thick = 0.014;
        toy_paint(c, toy_stroke, &s, NULL, 0.35, shade, 0.75 * (p[TOY_CHEEK] < 1 ? p[TOY_CHEEK] : 1), 0);
    }
}

static void toy_mouth(toy_canvas *c, const toy_look *look, int teeth) {
    const double *p = look->part;
    double open = p[TOY_MOUTH_OPEN] > 0.05 ? p[TOY_MOUTH_OPEN] : 0, lip = p[TOY_MOUTH_LIP] > 0 ? p[TOY_MOUTH_LIP] : 0, half = 0.36 * (1 + 0.3 * p[TOY_MOUTH_WIDE]);
    toy_shape mouth = toy_at(0, look->mouth_low - 0.05 * lip, half, 0.12 * open + 0.05 * lip), edge;
    mouth.curve.v += 0.06 * p[TOY_MOUTH_CORNER];
    mouth.curve.bend = -0.15 * p[TOY_MOUTH_CORNER];
    mouth.curve.slope = -0.03 * p[TOY_ONE_SIDED];
    mouth.curve.lift = -0.16 * p[TOY_ONE_SIDED];
    if (p[TOY_ONE_SIDED] < 0) { /* the other side: lift only works on t > 0 */
        mouth.curve.bend += 0.16 * p[TOY_ONE_SIDED];
        mouth.curve.lift = -0.16 * p[TOY_ONE_SIDED];
    }
    mouth.down = 0.22 * open;
    mouth.round = p[TOY_MOUTH_WIDE] < 0;
    edge = mouth; /* lips around it */
    edge.curve.half *= 1.08;
    edge.up += 0.045;
    edge.down += 0.06;
    toy_paint(c, toy_lens, &edge, NULL, 0.75, look->lip, 0.8, 0);
    if (open > 0 || lip > 0.4) {
        double inside[3];
        toy_mix(inside, look->dark, look->lip, 0.25);
        toy_paint(c, toy_lens, &mouth, NULL, 0.75, inside, 1, 0);
        if (teeth) {
            edge = mouth;
            edge.down = mouth.down * 0.25 - mouth.up * 0.1;
            toy_paint(c, toy_lens, &edge, NULL, 0.75, look->white, 0.9, 0);
        }
    } else {
        edge = mouth;
        edge.thick = 0.016;
        toy_paint(c, toy_stroke, &edge, NULL, 0.75, look->dark, 0.75, 0);
    }
}

static void toy_head(toy_canvas *c, zn_rng *rng, const toy_look *look) {
    toy_shape s = toy_at(0, -0.1, toy_between(rng, 1.02, 1.25), toy_between(rng, 1.25, 1.45));
    double shade[3], cloth[3];
    int beard = zn_rng_below(rng, 6) == 0, fringe = zn_rng_below(rng, 3) == 0;
    double parting = toy_between(rng, -0.5, 0.5), hairline = toy_between(rng, -0.9, -0.72);
    toy_random_color(rng, cloth);
    toy_paint(c, toy_ellipse, &s, NULL, 1.6, look->hair, 1, 1);
    s = toy_at(0, 2.3, 1.7, 1.0);
    toy_paint(c, toy_ellipse, &s, NULL, 2.2, cloth, 1, 1);
    toy_mix(shade, look->skin, look->dark, 0.3);
    s = toy_at(0, 1.2, 0.42, 0.7);
    toy_paint(c, toy_ellipse, &s, NULL, 0.9, shade, 1, 1);
    s = toy_at(0, 0, 0.92, look->height);
    toy_paint(c, toy_ellipse, &s, NULL, 1.5, look->skin, 1, 1);
    if (beard) {
        toy_mix(shade, look->skin, look->hair, toy_between(rng, 0.25, 0.7));
        s = toy_at(0, 0.75, 0.62, 0.52);
        toy_paint(c, toy_ellipse, &s, NULL, 0.8, shade, 1, 0);
    }
    s = toy_at(parting, hairline - 0.55, 1.0, fringe ? 0.72 : 0.55);
    toy_paint(c, toy_ellipse, &s, NULL, 1.2, look->hair, 1, 1);
}

static void toy_in_front(toy_canvas *c, zn_rng *rng, const toy_look *look) {
    toy_shape s;
    double color[3];
    int side;
    if (zn_rng_below(rng, 5) == 0) { /* glasses */
        double r = toy_between(rng, 0.23, 0.3);
        toy_random_color(rng, color);
        toy_mix(color, look->dark, color, 0.4);
        for (side = -1; side <= 1; side += 2) {
            s = toy_at(side * look->eye_apart, -0.2, r, r * toy_between(rng, 0.8, 1));
            s.thick = 0.02;
            toy_paint(c, toy_ring, &s, NULL, 0.4, color, 0.9, 0);
        }
        s = toy_at(0, -0.25, 0.12, 0);
        s.thick = 0.02;
        toy_paint(c, toy_stroke, &s, NULL, 0.2, color, 0.9, 0);
    }
    if (zn_rng_uniform(rng) < TOY_OCCLUDED) { /* a hand, a cup, a strand: small enough to leave most of the face */
        toy_random_color(rng, color);
        s = toy_at(toy_between(rng, -1, 1), toy_between(rng, -1, 1.1), toy_between(rng, 0.1, 0.38), toy_between(rng, 0.1, 0.38));
        toy_paint(c, toy_ellipse, &s, NULL, 0.5, color, 1, 1);
    }
}

static void toy_background(toy_canvas *c, zn_rng *rng) {
    double a[3], b[3], direction = toy_between(rng, 0, 6.283), x = cos(direction) / c->size, y = sin(direction) / c->size;
    int i, j, blobs = (int)zn_rng_below(rng, 5);
    toy_random_color(rng, a);
    toy_random_color(rng, b);
    for (j = 0; j < c->size; ++j)
        for (i = 0; i < c->size; ++i) toy_mix(c->rgb + ((size_t)j * (size_t)c->size + (size_t)i) * 3, a, b, 0.5 + 0.7 * (x * (i - c->size / 2) + y * (j - c->size / 2)));
    while (blobs-- > 0) {
        toy_shape s = toy_at(toy_between(rng, -1.7, 1.7), toy_between(rng, -1.7, 1.7), toy_between(rng, 0.1, 0.8), toy_between(rng, 0.1, 0.8));
        toy_random_color(rng, a);
        toy_paint(c, toy_ellipse, &s, NULL, 0.9, a, 0.8, 1);
    }
}

/* Light from one side, often strong enough to turn the sign of a pixel's correlation with anything. */
static void toy_light(toy_canvas *c, zn_rng *rng) {
    double direction = toy_between(rng, 0, 6.283), strength = toy_between(rng, 0, 0.45), gain = toy_between(rng, 0.75, 1.15), tint[3], u, v;
    double lx = cos(direction) * strength, ly = sin(direction) * strength;
    int gray = zn_rng_below(rng, 8) == 0, i, j, k;
    for (k = 0; k < 3; ++k) tint[k] = gain * toy_between(rng, 0.88, 1.12);
    for (j = 0; j < c->size; ++j)
        for (i = 0; i < c->size; ++i) {
            double *p = c->rgb + ((size_t)j * (size_t)c->size + (size_t)i) * 3, shade;
            toy_to_face(c, i + 0.5, j + 0.5, 1, &u, &v);
            shade = 1 + lx * u + ly * v;
            if (shade < 0.3) shade = 0.3;
            for (k = 0; k < 3; ++k) p[k] *= shade * tint[k];
            if (gray) p[0] = p[1] = p[2] = 0.3 * p[0] + 0.59 * p[1] + 0.11 * p[2];
        }
}

/* About N(0, 1): four 16-bit uniforms of one draw, summed. */
static double toy_noise(zn_rng *rng) {
    uint64_t bits = zn_rng_next(rng);
    int sum = (int)(bits & 0xffff) + (int)(bits >> 16 & 0xffff) + (int)(bits >> 32 & 0xffff) + (int)(bits >> 48);
    return (sum - 131070) * (1.7320508 / 65536);
}
/* A box of 3 x 3 with the middle weighing more or less, then noise, then bytes. */
static void toy_finish(const toy_canvas *c, zn_rng *rng, unsigned char *rgb) {
    double blur = zn_rng_below(rng, 3) == 0 ? toy_between(rng, 0.1, 0.6) : 0, noise = toy_between(rng, 0, 0.025);
    int n = c->size, i, j, k, di, dj;
    for (j = 0; j < n; ++j)
        for (i = 0; i < n; ++i)
            for (k = 0; k < 3; ++k) {
                double around = 0, value;
                for (dj = -1; dj <= 1; ++dj)
                    for (di = -1; di <= 1; ++di) {
                        int x = i + di < 0 ? 0 : i + di >= n ? n - 1 : i + di, y = j + dj < 0 ? 0 : j + dj >= n ? n - 1 : j + dj;
                        around += c->rgb[((size_t)y * (size_t)n + (size_t)x) * 3 + (size_t)k];
                    }
                value = c->rgb[((size_t)j * (size_t)n + (size_t)i) * 3 + (size_t)k];
                value += blur * (around / 9 - value) + noise * toy_noise(rng);
                rgb[((size_t)j * (size_t)n + (size_t)i) * 3 + (size_t)k] = (unsigned char)(value <= 0 ? 0 : value >= 1 ? 255 : 255 * value + 0.5);
            }
}

/* Face number `index` of `seed` with `expression` (TOY_SURPRISE...) as size x size RGB pixels. 0, or -1 when memory is
   out. Any thread. */
TOOL_API int toy_face_draw(uint64_t seed, uint64_t index, int expression, int size, unsigned char *rgb) {
    zn_rng rng = zn_rng_stream(seed, index);
    toy_canvas c;
    toy_look look;
    double turn = toy_between(&rng, -TOY_TURN, TOY_TURN), gaze = toy_between(&rng, -0.04, 0.04);
    int side, teeth;
    c.size = size;
    c.rgb = (double *)malloc((size_t)size * (size_t)size * 3 * sizeof *c.rgb);
    if (c.rgb == NULL) return -1;
    c.radius = size * 0.43 * toy_between(&rng, 0.9, 1.1);
    c.x = size * (0.5 + toy_between(&rng, -TOY_SHIFT, TOY_SHIFT));
    c.y = size * (0.5 + toy_between(&rng, -TOY_SHIFT, TOY_SHIFT));
    c.cosine = cos(turn);
    c.sine = sin(turn);
    c.turned = toy_between(&rng, -0.1, 0.1);
    c.nodded = toy_between(&rng, -0.06, 0.08);
    toy_look_draw(&rng, expression, &look);
    toy_background(&c, &rng);
    toy_head(&c, &rng, &look);
    teeth = zn_rng_below(&rng, 3) > 0;
    toy_nose_and_folds(&c, &look);
    for (side = -1; side <= 1; side += 2) toy_brow_and_eye(&c, &look, side, gaze);
    toy_mouth(&c, &look, teeth);
    toy_in_front(&c, &rng, &look);
    toy_light(&c, &rng);
    toy_finish(&c, &rng, rgb);
    free(c.rgb);
    return 0;
}

#endif
