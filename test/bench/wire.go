package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
)

// wire is one HTTP/1.1 connection that stays open, with as little between the request
// and TLS as load generators have (wrk, ab): what is measured is the server, and
// net/http's client would take half of the processor time. It understands what this
// server sends, answers with a length, and nothing else.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte // of the request being sent
	body []byte // of the last answer
	head string // what every request has after its first line
}

func dialWire(host, token string, cfg *tls.Config) (*wire, error) {
	conn, err := tls.Dial("tcp", host, cfg)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 16<<10),
		head: " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: hallmark-bench\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\n"}, nil
}

// send sends a request and reads its answer to the end, which is an error unless its
// status is below 300.
func (w *wire) send(q request) error {
	w.out = append(append(append(w.out[:0], q.method...), ' '), q.path...)
	w.out = append(append(w.out, "?api-version="...), q.apiVersion...)
	w.out = append(w.out, w.head...)
	if q.body != "" {
		w.out = append(strconv.AppendInt(append(w.out, "Content-Length: "...), int64(len(q.body)), 10), "\r\n"...)
	}
	w.out = append(append(w.out, "\r\n"...), q.body...)
	if _, err := w.conn.Write(w.out); err != nil {
		return fmt.Errorf("%s %s: %w", q.method, q.path, err)
	}
	status, err := w.answer()
	if err == nil && status >= 300 {
		err = fmt.Errorf("status %d: %.300s", status, w.body)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", q.method, q.path, err)
	}
	return nil
}

func (w *wire) answer() (status int, err error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("the answer begins with %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("the answer begins with %q", line)
	}
	length, err := w.headers()
	if err != nil {
		return 0, err
	}
	if cap(w.body) < length {
		w.body = make([]byte, length)
	}
	w.body = w.body[:length]
	_, err = io.ReadFull(w.in, w.body)
	return status, err
}

// headers reads to the empty line; length is the body's.
func (w *wire) headers() (length int, err error) {
	length = -1
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, fmt.Errorf("the answer's length: %w", err)
			}
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("the answer has no length")
	}
	return length, nil
}
