// Dereferences nil four functions deep.
package main

//go:noinline
func leaf(pointer *int) int { return *pointer }

//go:noinline
func inner(value int) int { return leaf(nowhere) + value }

//go:noinline
func middle(value int) int {
	var room [20]int
	room[value&15] = inner(value + 1)
	return room[value&15]
}

var nowhere *int

func main() { println(middle(3)) }
