/* Every kind of C's values, on the way to a null pointer. */
#include <complex.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KEEP __attribute__((noinline, noclone))

enum color { RED, GREEN = 5, BLUE, DARK = -1 };
enum flags { F_A = 1, F_B = 2, F_C = 8 };
struct user { int id; char name[16]; };
struct session {
    char pad[0x10];
    unsigned low : 3;
    signed mid : 5;
    uint64_t high : 40;
    enum color tint : 4;
    struct user *user;
};
struct request {
    int fd;
    const char *path;
    struct session *session;
    double weight;
    float ratio;
    union { int i; float f; } u;
    struct { short x, y; };
    enum color color;
    enum flags flags;
    int (*handler)(struct request *, int, const char *);
    long double wide;
    double _Complex pair;
    __int128 huge;
    _Bool good;
    unsigned char raw[6];
    struct request *next;
};
typedef struct request request_t;
typedef int numbers_t[3];

static int counter = 7;
static volatile int sink;

static inline int twice(int value, const char *why)
{
    int result = value * 2;
    sink += why[0];
    return result + counter;
}

KEEP static int last(request_t *request, long depth, const char *password)
{
    static int calls = 3;
    int64_t before = depth * 3;
    sink += (int)before + calls++ + password[0];
    {
        short inner = 99;
        sink += inner;
        if (depth == 0) {
            uint64_t big = (uint64_t)1 << 63 | (unsigned long)request->fd;
            sink += (int)(big >> 60);
            return request->session->user->id + twice((int)before, request->path);
        }
    }
    return -1;
}

KEEP int handle(request_t *request, int depth, double weight, float ratio, struct user by_value,
                char letter)
{
    numbers_t numbers = {1, -2, 3};
    char buffer[32] = "he\tl\"lo \303\244";
    int vla[depth + 3];
    memset(vla, 0, sizeof vla);
    vla[1] = by_value.id;
    unsigned char bytes[4] = {1, 2, 3, 255};
    _Bool yes = weight > 0;
    struct request copy = *request;
    int *pointer = &numbers[1];
    numbers_t *whole = &numbers;
    const char *const *words = (const char *const[]){"one", "two", 0};
    ptrdiff_t zero = 0;
    wchar_t wide = L'\u00e4';
    sink += numbers[2] + buffer[0] + bytes[1] + yes + copy.fd + vla[0] + *pointer + (*whole)[0];
    sink += words[0][0] + (int)zero + (int)wide + (int)(ratio * 2) + letter;
    for (int i = 3; i < 5; i++) {
        int found = depth ? handle(request, depth - 1, weight / 2, ratio, by_value, letter)
                          : last(request, depth, "hunter2");
        sink += found + numbers[1] + bytes[3] + vla[1] + buffer[1] + (int)copy.weight;
    }
    return sink;
}

int main(int argc, char **argv)
{
    struct session session = {.low = 5, .mid = -3, .high = (uint64_t)1 << 39, .tint = GREEN};
    struct request request = {
        .fd = 3, .path = "/index.html", .weight = 0.1, .ratio = 0.1f, .u.i = 5, .x = -7, .y = 8,
        .color = GREEN, .flags = F_A | F_C, .handler = last, .wide = -1.0L / 3,
        .pair = 1 + 2 * I, .huge = ((__int128)1 << (8 * sizeof(__int128) - 28)) + 1, .good = 1,
        .raw = {1, 0, 200}, .session = argc > 1 ? 0 : &session,
    };
    struct user user = {.id = 1000 + argc, .name = "bob"};
    int matrix[2][3] = {{1, 2, 3}, {4, 5, 6}};
    enum color none = (enum color)argc, dark = DARK;
    request.next = &request;
    sink += matrix[argc][0] + none + dark;
    return handle(&request, 1, -2.5e300, 1e-9f, user, 'x') + matrix[1][argc] + (int)(long)argv;
}
