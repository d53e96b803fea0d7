package cli

import (
	"context"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

var cacheColumns = []column{{"Kind", "kind"}, {"Step", "step"}, {"Bytes", "size"}, {"Used", "used"}, {"InUse", "inUse"}, {"Digest", "digest"}}

func (a *App) cacheCommand() *cobra.Command {
	command := &cobra.Command{Use: "cache", Short: "Look at what builds keep, and prune it"}
	var maxGiB int64
	var all bool
	prune := &cobra.Command{
		Use: "prune", Short: "Remove what is not in use, least recently used first", Args: cobra.NoArgs,
		Example: "  hallmark cache prune --max-gib 10\n  hallmark cache prune --all",
		RunE: func(c *cobra.Command, _ []string) error {
			if maxGiB <= 0 && !all {
				return usage("say how much may stay, with --max-gib, or --all")
			}
			return a.cache(c.Context(), "POST", "/prune", map[string]any{"maxBytes": maxGiB << 30, "all": all})
		},
	}
	prune.Flags().Int64Var(&maxGiB, "max-gib", 0, "how many GiB may stay")
	prune.Flags().BoolVar(&all, "all", false, "remove everything that is not in use")
	command.AddCommand(&cobra.Command{
		Use: "show", Short: "List cached layers and images, most recently used first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.cache(c.Context(), "GET", "", nil) },
	}, prune)
	return command
}

func (a *App) cache(ctx context.Context, method, action string, body any) error {
	s, err := a.open(scope{})
	if err != nil {
		return err
	}
	var page struct{ Value []map[string]any }
	if err := s.Do(ctx, azure.Request{Method: method, Path: "/providers/Hallmark.Control/cache" + action, APIVersion: apiHallmark, Body: body}, &page); err != nil {
		return err
	}
	return a.print(page.Value, cacheColumns...)
}
