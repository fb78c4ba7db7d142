// The corpus's program in Go: a comparison that the sort package calls writes to address 0.
package main

import "sort"

var calls int

type target interface{ hit(value int) int }

type hole struct{ where *int }

//go:noinline
func (h hole) hit(value int) int {
	*h.where = value
	calls++
	return calls
}

func aim(t target, value int) int { return t.hit(value) + calls }

type numbers struct {
	all []int
	t   target
}

func (n numbers) Len() int      { return len(n.all) }
func (n numbers) Swap(i, j int) { n.all[i], n.all[j] = n.all[j], n.all[i] }

//go:noinline
func (n numbers) Less(i, j int) bool {
	calls++
	if calls > 3 {
		return aim(n.t, calls) > 0
	}
	return n.all[i] < n.all[j]
}

//go:noinline
func twice(depth int, n numbers) int {
	if depth > 0 {
		return twice(depth-1, n) + calls
	}
	sort.Sort(n)
	return n.all[0] + calls
}

func main() {
	block := make(chan int)
	go func() { <-block }()
	println(twice(2, numbers{[]int{5, 2, 9, 1, 7, 3, 8}, hole{}}))
}
