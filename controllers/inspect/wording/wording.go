// Package wording is what texts for people have in common: numbers with their noun,
// lists that end, and text of strangers that steers no terminal.
package wording

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxWords is how many words First lists.
const maxWords = 10

// Count is "no hosts", "1 host", "2 hosts".
func Count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// First lists the first ten words.
func First(words []string) string {
	if len(words) > maxWords {
		return strings.Join(words[:maxWords], " ") + " …"
	}
	return strings.Join(words, " ")
}

// Printable replaces all characters that could control a terminal, or make text of a
// stranger look like a line of its own, but for those to keep.
func Printable(text string, keep ...rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || slices.Contains(keep, r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
