// Package shellword writes text for POSIX shells. Everybody who puts text of others into a
// script may import it.
package shellword

import "strings"

// Quote makes one word of sh(1) of any text without a NUL; the shell takes nothing in it for its own.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
