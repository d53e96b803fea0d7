// Command pack writes the packed alias table from a list of aliases: lines of
// resource type, alias and default path, separated by tabs. Nested types may be
// written with hyphens (servers-databases) as Azure's own index does.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"

	"hallmark.dev/hallmark/internal/policy/alias"
)

func main() {
	in := flag.String("in", "", "the list, tab-separated")
	out := flag.String("out", "aliases.bin", "the packed table")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	var aliases []alias.Alias
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		parts := strings.Split(lines.Text(), "\t")
		if len(parts) != 3 {
			return fmt.Errorf("%s:%d: %d columns, want type, alias and path", in, n, len(parts))
		}
		aliases = append(aliases, alias.Alias{Type: strings.ReplaceAll(parts[0], "-", "/"), Name: parts[1], Path: parts[2]})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	packed, err := alias.Pack(aliases)
	if err != nil {
		return err
	}
	return os.WriteFile(out, packed, 0o644)
}
