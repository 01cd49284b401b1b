/* pack_decode.h - what turns the original image files in a pack into pixels. After zennet.h and zennet_image.h:

       zn_pack_set_decoder(pack, pack_decode, NULL);                                                                    */
#ifndef ZENNET_PACK_DECODE_H
#define ZENNET_PACK_DECODE_H

#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
__attribute__((unused))
#endif
static int pack_decode(const zn_pack_info *image, unsigned char *rgb, void *user) {
    zim_opts opts = zim_opts_default();
    zim_image whole;
    size_t row = (size_t)image->width * 3;
    int y, good;
    (void)user;
    opts.max_pixels = (size_t)image->stored_width * (size_t)image->stored_height; /* the pack says how large it is */
    if (zim_decode(image->bytes, image->size, &opts, &whole, NULL) != 0) return -1;
    good = whole.width == image->stored_width && whole.height == image->stored_height;
    for (y = 0; y < image->height && good; ++y)
        memcpy(rgb + (size_t)y * row, whole.pixels + ((size_t)(image->y + y) * (size_t)whole.width + (size_t)image->x) * 3, row);
    zim_free(&whole);
    return good ? 0 : -1;
}

#endif
