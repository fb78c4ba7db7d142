/* The code that host.c calls: its first function is the first of the file. */
struct point { long x, y, values[20]; };
void jit_fault(struct point *p);
void jit_middle(int depth);

__attribute__((noinline)) void jit_entry(int depth) {
    jit_middle(depth + 1);
    __asm__ volatile("");
}

__attribute__((noinline)) void jit_middle(int depth) {
    struct point here = {depth, depth, {depth}};
    __asm__ volatile("" : "+m"(here));
    jit_fault(&here);
    __asm__ volatile("" : "+m"(here));
}

__attribute__((noinline)) void jit_fault(struct point *p) {
    *(volatile int *)8 = (int)p->x;
    __asm__ volatile("");
}
