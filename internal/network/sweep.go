package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sweep removes the taps of machines that are not in machines, and every
// namespace whose step is not in steps: what a killed process left. It returns
// the names of what it removed.
func (n *Network) Sweep(ctx context.Context, machines, steps []string) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	keep := map[string]bool{n.cfg.Bridge(): true}
	for _, m := range machines {
		keep[n.cfg.Tap(m)] = true
	}
	for _, s := range steps {
		keep[n.cfg.veth(s)] = true
	}
	removed, err := n.sweepNamespaces(ctx, steps)
	if err != nil {
		return removed, err
	}
	more, err := n.sweepLinks(ctx, keep)
	return append(removed, more...), err
}

func (n *Network) sweepNamespaces(ctx context.Context, keep []string) (removed []string, err error) {
	found, err := n.steps()
	if err != nil {
		return nil, err
	}
	for _, step := range found {
		if slices.Contains(keep, step) {
			continue
		}
		if e := n.removeNamespace(ctx, step); e != nil {
			err = errors.Join(err, e)
			continue
		}
		removed = append(removed, n.namespaceName(step))
	}
	return removed, err
}

func (n *Network) sweepLinks(ctx context.Context, keep map[string]bool) (removed []string, err error) {
	found, err := links(ctx, n.cfg.mark())
	if err != nil {
		return nil, err
	}
	for _, l := range found {
		if keep[l.Name] {
			continue
		}
		if e := n.removeTap(ctx, l.Name); e != nil {
			err = errors.Join(err, e)
			continue
		}
		removed = append(removed, l.Name)
	}
	return removed, err
}

// Teardown removes everything of the instance. Machines that still run lose
// their network. Calling it again is fine.
func (n *Network) Teardown(ctx context.Context) error {
	if _, err := n.Sweep(ctx, nil, nil); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	mark := n.cfg.mark()
	return errors.Join(
		removeLink(ctx, n.cfg.Bridge()),
		n.unclaimSteps(ctx),
		// Adding before deleting makes deleting what is not there a success.
		nft(ctx, fmt.Sprintf("add table inet %[1]s\ndelete table inet %[1]s\nadd table bridge %[1]s\ndelete table bridge %[1]s\n", mark)))
}

// ports lists the elements of the set of known machines that name a tap.
func (n *Network) ports(ctx context.Context, tap string) ([]string, error) {
	out, err := run(ctx, "", "nft", "-j", "list", "set", "bridge", n.cfg.mark(), "ports")
	if err != nil {
		var failed *ToolError
		if errors.As(err, &failed) && strings.Contains(failed.Output, "No such file or directory") {
			return nil, nil // no rules: nothing is known
		}
		return nil, err
	}
	return parsePorts(out, tap)
}

func parsePorts(text []byte, tap string) ([]string, error) {
	var doc struct {
		Objects []struct {
			Set struct {
				Elements []struct {
					Concat []string `json:"concat"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("reading nft's list of machines: %w", err)
	}
	var out []string
	for _, o := range doc.Objects {
		for _, e := range o.Set.Elements {
			if len(e.Concat) == 3 && e.Concat[0] == tap {
				out = append(out, `"`+e.Concat[0]+`" . `+e.Concat[1]+` . `+e.Concat[2])
			}
		}
	}
	return out, nil
}
