package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the server: what clients may hold up. See also share.go.
const (
	maxConnections    = 1024
	maxStreams        = 100       // of one HTTP/2 connection
	maxStreamBuffer   = 256 << 10 // bytes received and not read yet, for each stream
	maxConnBuffer     = 1 << 20   // and for each connection
	maxHeaderBytes    = 64 << 10
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute
	writeTimeout      = 5 * time.Minute
	idleTimeout       = 2 * time.Minute
	drainTime         = 10 * time.Second
)

// Serve answers on a listener (plain TCP; TLS is added, HTTP/1.1 and 2) until ctx ends,
// then lets running requests finish for a while.
func Serve(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ConnState: newCrowd(maxConnections).observe,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: maxStreamBuffer, MaxReceiveBufferPerConnection: maxConnBuffer},
		// Whole records from the start: small ones, for browsers on slow networks, cost a
		// system call each.
		TLSConfig:      &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
		MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		stopped <- srv.Shutdown(drain)
	}()
	err := srv.ServeTLS(l, "", "")
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return <-stopped
}
