/* A module of Node.js that ends it with a fatal error. */

#include <stddef.h>

void napi_fatal_error(const char *, size_t, const char *, size_t);

void *napi_register_module_v1(void *environment, void *exports) {
    napi_fatal_error("fatal.c:9", (size_t)-1, "no more goods: größe 3", (size_t)-1);
    return exports;
}
