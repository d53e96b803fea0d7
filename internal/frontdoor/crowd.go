package frontdoor

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// crowd bounds how many connections there are. When one too many comes, the one that
// has been quiet longest goes: opened and never used, half-way through a handshake or
// a header, or idle between requests. So whoever opens connections and does nothing
// keeps nobody out, and a request that is being answered is never cut off.
type crowd struct {
	max int

	mu    sync.Mutex
	count int
	quiet *list.List // of net.Conn, the longest quiet first
	at    map[net.Conn]*list.Element
}

func newCrowd(max int) *crowd {
	return &crowd{max: max, quiet: list.New(), at: map[net.Conn]*list.Element{}}
}

// observe is an http.Server's ConnState.
func (c *crowd) observe(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.count++
		c.rest(conn)
		if c.count > c.max {
			closeNow(c.quiet.Front().Value.(net.Conn)) // conn itself if all others are busy
		}
	case http.StateIdle:
		c.rest(conn)
	case http.StateActive:
		c.stir(conn)
	case http.StateClosed, http.StateHijacked:
		c.count--
		c.stir(conn)
	}
}

func (c *crowd) rest(conn net.Conn) {
	if c.at[conn] == nil {
		c.at[conn] = c.quiet.PushBack(conn)
	}
}

func (c *crowd) stir(conn net.Conn) {
	if e := c.at[conn]; e != nil {
		c.quiet.Remove(e)
		delete(c.at, conn)
	}
}

// closeNow closes without TLS's farewell, which could wait for a client that does not
// read.
func closeNow(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close() // it is to be gone, whatever it says
}
