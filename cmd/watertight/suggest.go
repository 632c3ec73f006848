package main

import "strings"

// suggest returns "; did you mean …?" with the names that are the same elsewhere,
// or else the one with the fewest typing errors, two at most.
func suggest(name string, known []string, same func(string) bool) string {
	var alike []string
	nearest, typos := "", 3
	for _, k := range known {
		if same(k) {
			alike = append(alike, k)
		}
		if d := distance(name, k); d < typos {
			nearest, typos = k, d
		}
	}
	if len(alike) == 0 && nearest != "" {
		alike = []string{nearest}
	}
	if len(alike) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(alike, " or ") + "?"
}

// distance is how many letters have to be added, taken away or changed to make one
// word of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			row[j+1] = min(above, row[j]) + 1
			if a[i] == b[j] {
				row[j+1] = min(row[j+1], diagonal)
			} else {
				row[j+1] = min(row[j+1], diagonal+1)
			}
			diagonal = above
		}
	}
	return row[len(b)]
}
