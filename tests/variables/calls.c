/* Calls through null function pointers. */
#define KEEP __attribute__((noinline))

struct ops { int version; int (*open)(int); int (*close)(int); };
struct device { const char *name; struct ops *ops; };

static volatile int sink;

KEEP int shut(struct device *device, int flags)
{
    int result = device->ops->close(flags);
    sink = result;
    return result + 1;
}

KEEP int apply(int (*function)(int), int number)
{
    int result = function(number);
    sink = result;
    return result + 1;
}

int main(int count, char **words)
{
    struct ops ops = {count, 0, 0};
    struct device device = {words[0], &ops};
    return count > 1 ? apply(ops.open, 3) : shut(&device, 3);
}
