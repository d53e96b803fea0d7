package federation

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

// Bounds on what is read from an issuer: tokens that anybody can make up name a key
// that is not known yet, and each would have the keys read again.
const (
	fetchTimeout = 10 * time.Second
	fetchBytes   = 1 << 20
	fetchBurst   = 6                // reads at once: discovery and keys, and some rotations
	fetchEvery   = 10 * time.Second // one more read
)

var errTooOften = errors.New("the issuer's keys were read a moment ago, and the token's key is not among them")

// client reads discovery documents and keys, from the issuer's own host and those
// that are configured beside it, and from nowhere else.
func (c Config) client(now func() time.Time) (*http.Client, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("the issuer's authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the issuer's authorities: %s has no certificate", c.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Timeout:   fetchTimeout,
		Transport: &guarded{next: t, scheme: u.Scheme, hosts: append([]string{u.Host}, c.KeyHosts...), now: now, left: fetchBurst, at: now()},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the issuer redirects; configure the URL that it redirects to")
		},
	}, nil
}

// guarded is a transport that goes to some hosts only, and not too often.
type guarded struct {
	next   http.RoundTripper
	scheme string
	hosts  []string
	now    func() time.Time

	mu   sync.Mutex
	left int
	at   time.Time
}

func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != g.scheme || !slices.Contains(g.hosts, r.URL.Host) {
		return nil, fmt.Errorf("%s is not the issuer's; add its host to keyHosts if its keys are there", r.URL)
	}
	if !g.take() {
		return nil, errTooOften
	}
	resp, err := g.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, fetchBytes), resp.Body}
	}
	return resp, err
}

func (g *guarded) take() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if more := int(g.now().Sub(g.at) / fetchEvery); more > 0 {
		g.left, g.at = min(g.left+more, fetchBurst), g.at.Add(time.Duration(more)*fetchEvery)
	}
	if g.left == 0 {
		return false
	}
	g.left--
	return true
}
