package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/inventory"
)

// sizes are compared of what a version's document says of its bytes.
var sizes = []string{"imageDigest", "virtualSizeBytes", "dataBytes"}

func (a *App) imageDiff() *cobra.Command {
	var where scope
	c := &cobra.Command{
		Use: "diff GALLERY/DEFINITION/VERSION GALLERY/DEFINITION/VERSION", Short: "Show what differs between two versions: packages, kernels, /etc, tattoo, sizes", Args: cobra.ExactArgs(2),
		Long: "Compares what is in two versions of images: packages (those that dpkg knows), kernels, files under /etc with their content, mode\n" +
			"and owner, what the tattoo and os-release say, and sizes. The second may be a version alone: then it is of the first one's definition.\n\n" +
			"The control plane looks into the replicas; nothing is booted, and no disk is downloaded.",
		Example: "  hallmark image diff golden/web-base/1.0.0 1.1.0\n  hallmark image diff golden/web-base/1.0.0 1.1.0 --query \"[?kind=='package']\" -o tsv",
	}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		if first := arguments[0]; !strings.Contains(arguments[1], "/") && strings.Contains(first, "/") {
			arguments[1] = first[:strings.LastIndexByte(first, '/')+1] + arguments[1]
		}
		changes, err := s.diff(c.Context(), arguments[0], arguments[1])
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			a.progress("Nothing that is compared differs.")
		}
		return a.print(changes, column{"Kind", "kind"}, column{"Change", "change"}, column{"Name", "name"}, column{"From", "from"}, column{"To", "to"}, column{"What", "join(', ', what || `[]`)"})
	}
	return c
}

func (s *session) diff(ctx context.Context, from, to string) ([]inventory.Change, error) {
	var found [2]inventory.Inventory
	var stored [2]map[string]string
	for i, name := range []string{from, to} {
		id, err := s.galleryID(name)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(strings.ToLower(id), "/versions/") {
			return nil, usage("%q names no version: want GALLERY/DEFINITION/VERSION", name)
		}
		if stored[i], err = s.stored(ctx, id); err != nil {
			return nil, err
		}
		if found[i], err = s.inventory(ctx, id); err != nil {
			return nil, fmt.Errorf("what is in %s: %w", name, err)
		}
	}
	changes := []inventory.Change{}
	for _, name := range sizes {
		if old, now := stored[0][name], stored[1][name]; old != now {
			changes = append(changes, inventory.Change{Kind: "fact", Name: name, Change: "changed", From: old, To: now})
		}
	}
	return append(changes, inventory.Compare(found[0], found[1])...), nil
}

func (s *session) inventory(ctx context.Context, id string) (inventory.Inventory, error) {
	var v inventory.Inventory
	var answer struct{ URI string }
	if err := s.post(ctx, id, "export", apiGallery, map[string]string{"format": "inventory"}, &answer); err != nil {
		return v, err
	}
	var text bytes.Buffer
	if err := s.download(ctx, answer.URI, &text); err != nil {
		return v, err
	}
	if err := json.Unmarshal(text.Bytes(), &v); err != nil {
		return v, err
	}
	if v.Schema != inventory.Schema {
		return v, fmt.Errorf("the control plane's inventory has the schema %q, and this command reads %q: use the same release of both", v.Schema, inventory.Schema)
	}
	return v, nil
}

// stored is what the gallery says of a version's bytes.
func (s *session) stored(ctx context.Context, id string) (map[string]string, error) {
	var document struct {
		Properties struct{ Hallmark map[string]any }
	}
	if err := s.Get(ctx, id, apiGallery, &document); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, value := range document.Properties.Hallmark {
		if n, ok := value.(float64); ok {
			value = int64(n)
		}
		out[name] = fmt.Sprint(value)
	}
	return out, nil
}
