package frontdoor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hallmark.dev/hallmark/internal/frontdoor"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
)

// calm answers everything at once.
type calm struct{}

func (calm) Do(_ context.Context, r *provider.Request) *provider.Response {
	resp, _ := provider.JSON(200, map[string]int{"bytes": len(r.Body)})
	return resp
}

// anyone takes a token for the principal's name.
type anyone struct{}

func (anyone) Verify(_ context.Context, token string) (identity.Principal, error) {
	return identity.Principal{ObjectID: token, Name: token}, nil
}

// town is the real server on loopback: TLS, limits and all.
type town struct {
	addr string
	pool *x509.CertPool
}

func settle(t *testing.T) *town {
	t.Helper()
	dir := t.TempDir()
	cert, err := frontdoor.Certificates(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	handler := frontdoor.New(frontdoor.Config{Pipeline: calm{}, Verifier: anyone{}, Log: log})
	go func() { done <- frontdoor.Serve(ctx, l, cert, handler, log) }()
	t.Cleanup(func() { cancel(); <-done })
	w := &town{addr: l.Addr().String(), pool: x509.NewCertPool()}
	ca, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	w.pool.AddCert(ca)
	return w
}

// config trusts the server's own certificate.
func (w *town) config(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: w.pool, ServerName: "localhost", NextProtos: protocols}
}

// dial opens a connection that the test closes at its end; nil when the server will
// not have it.
func (w *town) dial(t *testing.T, config *tls.Config) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.addr, 20*time.Second)
	if err != nil {
		return nil
	}
	t.Cleanup(func() { conn.Close() })
	if config == nil {
		return conn
	}
	secure := tls.Client(conn, config)
	if secure.HandshakeContext(t.Context()) != nil {
		return nil
	}
	return secure
}

// honest is somebody with a new connection for each request, who must get an answer.
func (w *town) honest(t *testing.T, who string) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: w.config(), DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "PUT", "https://"+w.addr+"/subscriptions/s", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+who)
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		t.Fatalf("an honest client got no answer: %v", err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != `{"bytes":2}` {
		t.Fatalf("an honest client was answered %d %s", resp.StatusCode, body)
	}
}

// bounded fails when the process, clients included, holds more than the server may.
func bounded(t *testing.T, megabytes uint64) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if held := (m.HeapInuse + m.StackInuse) >> 20; held > megabytes {
		t.Errorf("%d MB are in use, more than %d", held, megabytes)
	} else {
		t.Logf("%d MB in use, clients included; at most %d allowed", held, megabytes)
	}
}

// crowd does f many times, some at once.
func crowd(n int, f func(i int)) {
	var group sync.WaitGroup
	turn := make(chan struct{}, 64)
	for i := range n {
		turn <- struct{}{}
		group.Go(func() { f(i); <-turn })
	}
	group.Wait()
}

func TestAThousandConnectionsThatDoNothing(t *testing.T) {
	w := settle(t)
	crowd(1000, func(int) { w.dial(t, w.config()) })
	w.honest(t, "a")
	bounded(t, 300)
}

func TestMoreHalfOpenConnectionsThanThereIsRoomFor(t *testing.T) {
	w := settle(t)
	crowd(1500, func(i int) {
		switch i % 3 {
		case 0:
			w.dial(t, nil) // no handshake
		case 1:
			if c := w.dial(t, nil); c != nil {
				_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1}) // some of one
			}
		default:
			if c := w.dial(t, w.config()); c != nil {
				_, _ = io.WriteString(c, "GET /subscriptions HTTP/1.1\r\nHost: x\r\nX-Slow: ") // a header that never ends
			}
		}
	})
	for range 5 {
		w.honest(t, "a")
	}
	bounded(t, 300)
}

func TestBodiesThatNeverEnd(t *testing.T) {
	w := settle(t)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	refused := make(chan bool, 300)
	for range 300 {
		c := w.dial(t, w.config())
		if c == nil {
			continue
		}
		if _, err := io.WriteString(c, "PUT /subscriptions/s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer greedy\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
			continue
		}
		go func() {
			_, _ = io.WriteString(c, chunk) // and no end
			answer := make([]byte, 12)
			if _, err := io.ReadFull(c, answer); err == nil && string(answer) == "HTTP/1.1 429" {
				refused <- true
			}
		}()
	}
	w.honest(t, "modest")
	bounded(t, 500)
	// 64 MB are as much as one client may send at once: most are refused, long before
	// any of the others is given up.
	for range 200 {
		select {
		case <-refused:
		case <-time.After(45 * time.Second):
			t.Fatal("too few of 300 bodies of a megabyte were refused")
		}
	}
	w.honest(t, "modest")
}

func TestHugeHeadersAndGarbage(t *testing.T) {
	w := settle(t)
	for name, c := range map[string]struct{ sent, answered string }{
		"huge header":     {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "HTTP/1.1 431"},
		"many headers":    {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", "HTTP/1.1 431"},
		"huge target":     {"GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431"},
		"garbage":         {"\x00\x01\xff\xfe garbage\r\n\r\n", "HTTP/1.1 400"},
		"no host":         {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
		"smuggled length": {"PUT /subscriptions/s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1 400"},
		"bad chunk":       {"PUT /subscriptions/s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400"},
		"long body":       {"PUT /subscriptions/s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nContent-Length: 999999999999\r\n\r\n" + strings.Repeat("x", 5<<20), "HTTP/1.1 413"},
	} {
		conn := w.dial(t, w.config())
		go func() { _, _ = io.WriteString(conn, c.sent) }()
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		answer := make([]byte, len(c.answered))
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != c.answered {
			t.Errorf("%s: answered %q, %v; want %q", name, answer, err, c.answered)
		}
	}
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise)
	crowd(200, func(int) {
		if c := w.dial(t, nil); c != nil {
			_, _ = c.Write(noise)
		}
		if c := w.dial(t, w.config("h2")); c != nil {
			_, _ = c.Write(noise)
		}
	})
	w.honest(t, "a")
	bounded(t, 300)
}

// flood is one HTTP/2 connection on which anything may be sent. It reads nothing back
// unless asked to.
func (w *town) flood(t *testing.T) (*http2.Framer, net.Conn) {
	t.Helper()
	c := w.dial(t, w.config("h2"))
	if c == nil {
		t.Fatal("no HTTP/2 connection")
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f, c
}

func headers(path string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, kv := range [][2]string{{":method", "PUT"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"authorization", "Bearer greedy"}} {
		_ = e.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
	}
	return b.Bytes()
}

func TestHTTP2Floods(t *testing.T) {
	w := settle(t)
	for name, attack := range map[string]func(f *http2.Framer, i uint32) error{
		"rapid reset": func(f *http2.Framer, i uint32) error {
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: headers("/subscriptions/s"), EndHeaders: true}); err != nil {
				return err
			}
			return f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		},
		"open streams": func(f *http2.Framer, i uint32) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: headers("/subscriptions/s"), EndHeaders: true})
		},
		"pings":    func(f *http2.Framer, i uint32) error { return f.WritePing(false, [8]byte{byte(i)}) },
		"settings": func(f *http2.Framer, i uint32) error { return f.WriteSettings() },
		"endless header block": func(f *http2.Framer, i uint32) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers("/subscriptions/s")})
			}
			return f.WriteContinuation(1, false, bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 2000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				f, _ := w.flood(t)
				for i := range uint32(5_000) {
					if attack(f, i) != nil {
						break // the server has closed it, as it may
					}
				}
			}
			w.honest(t, "modest")
			bounded(t, 300)
		})
	}
}
