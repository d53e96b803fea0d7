package frontdoor

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// What one principal may have going on at a time: others must find room, and memory
// must be bounded by how many principals there are.
const (
	maxRequests  = 256
	maxBodyBytes = 64 << 20 // of request bodies that are being read or worked on
	bodyStep     = 64 << 10
)

// shares counts what each principal has going on.
type shares struct {
	mu sync.Mutex
	of map[string]*share // by object id
}

type share struct {
	requests int
	bytes    int64
}

// enter counts a request in, or refuses it; leave counts it out again, with what it
// holds.
func (s *shares) enter(principal string) (*visit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.of[principal]
	if have == nil {
		have = &share{}
		s.of[principal] = have
	}
	if have.requests >= maxRequests {
		return nil, tooMany("has %d requests going on at the same time", maxRequests)
	}
	have.requests++
	return &visit{shares: s, principal: principal, share: have}, nil
}

// visit is one request's part of its principal's share.
type visit struct {
	*shares
	principal string
	share     *share
	bytes     int64
}

func (v *visit) take(n int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.share.bytes+n > maxBodyBytes {
		return tooMany("is sending more than %d bytes at the same time", maxBodyBytes)
	}
	v.share.bytes += n
	v.bytes += n
	return nil
}

func (v *visit) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.share.requests--
	v.share.bytes -= v.bytes
	if v.share.requests == 0 {
		delete(v.of, v.principal)
	}
}

func tooMany(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusTooManyRequests, "TooManyRequests", "The client "+format+", which is as much as one may. Wait for some to end and try again.", args...)
}

// readBody reads a request's body, at most provider.MaxBody bytes, and counts what it
// holds as it comes: a body that never ends costs no more than it has sent.
func readBody(w http.ResponseWriter, r *http.Request, v *visit) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, provider.MaxBody)
	var body []byte
	for {
		if len(body) == cap(body) {
			step := max(bodyStep, int64(cap(body)))
			if r.ContentLength >= 0 && len(body) == 0 {
				step = min(r.ContentLength, provider.MaxBody) + 1 // one more to see the end
			}
			if err := v.take(step); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, int64(len(body))+step), body...)
		}
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return nil, arm.Errorf(http.StatusRequestEntityTooLarge, arm.CodeRequestTooLarge, "The request body is longer than %d bytes.", tooLong.Limit).At("body")
		}
		if err != nil {
			return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The request body could not be read to its end.").Because(err)
		}
	}
}
