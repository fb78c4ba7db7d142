// Go's values, on the way to a null pointer.
package main

import "os"

type point struct {
	x, y int32
	name string
}

//go:noinline
func last(where *point, text string, numbers []int, flag bool) int32 {
	sum := int32(len(numbers)) + int32(len(text))
	if flag {
		sum++
	}
	return where.x + sum
}

//go:noinline
func visit(p point, pointer *point, ratio float64, letter rune) int32 {
	words := []string{"one", "two"}
	array := [4]uint8{1, 2, 3, 4}
	var empty []int
	given := last(nil, p.name, []int{4, 5, 6}, ratio > 1)
	return given + int32(len(words)) + int32(array[1]) + int32(len(empty)) + pointer.y + letter
}

func main() {
	p := point{1, -2, "here"}
	os.Exit(int(visit(p, &p, 2.5, 'x')))
}
