package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errPrivate: customizers fetch with the server's network, so they must not reach what
// only the server may reach.
var errPrivate = errors.New("addresses of this machine and of its link cannot be fetched from")

// webFetcher fetches by https from other machines.
type webFetcher struct{ client *http.Client }

// NewFetcher is a Fetcher that refuses this machine's own addresses, and anything but https,
// also when it is redirected there.
func NewFetcher() Fetcher {
	dialer := &net.Dialer{Timeout: 30 * time.Second, Control: refuseOwn}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	return webFetcher{&http.Client{
		Transport: transport, Timeout: 10 * time.Minute,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("it is redirected more than five times")
			}
			return httpsOnly(r)
		},
	}}
}

func httpsOnly(r *http.Request) error {
	if r.URL.Scheme != "https" {
		return fmt.Errorf("%s://%s: only https is fetched", r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// refuseOwn looks at the address after the name was resolved, so that no name can
// stand for another address the second time.
func refuseOwn(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("%s: %w", ip, errPrivate)
	}
	return nil
}

// Fetch implements Fetcher.
func (f webFetcher) Fetch(ctx context.Context, uri string, limit int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err == nil {
		err = httpsOnly(r)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", uri, err)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err) // names the address itself
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: the server answered %s", uri, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it has more than %d bytes; download it in a step instead", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", uri, err)
	}
	return data, nil
}
