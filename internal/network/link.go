package network

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// link is what `ip -j link show` says about a device, as far as it matters here.
type link struct {
	Name  string `json:"ifname"`
	Alias string `json:"ifalias"`
}

// links lists the host's devices whose name begins with prefix.
func links(ctx context.Context, prefix string) ([]link, error) {
	out, err := run(ctx, "", "ip", "-j", "link", "show")
	if err != nil {
		return nil, err
	}
	return parseLinks(out, prefix)
}

func parseLinks(text []byte, prefix string) ([]link, error) {
	var all, mine []link
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("reading `ip -j link show`: %w", err)
	}
	for _, l := range all {
		if strings.HasPrefix(l.Name, prefix) {
			mine = append(mine, l)
		}
	}
	return mine, nil
}

func findLink(all []link, name string) (link, bool) {
	for _, l := range all {
		if l.Name == name {
			return l, true
		}
	}
	return link{}, false
}
