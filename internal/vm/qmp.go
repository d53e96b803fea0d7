package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// maxReply bounds one message of QEMU or of a guest's agent: a guest is not
// trusted, and its agent may send without end. The agent itself cuts a
// command's output at 16 MiB, which base64 makes 22.
const maxReply = 64 << 20

// QMPError is QEMU's, or the guest agent's, own answer that a command failed.
type QMPError struct {
	Command string
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

func (e *QMPError) Error() string { return e.Command + ": " + e.Desc }

// dial connects to a socket in the machine's folder. It goes through a file
// descriptor, for the folder's own name may be longer than a socket's may be.
func dial(ctx context.Context, dir, socket string) (net.Conn, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), socket)
	conn, err := new(net.Dialer).DialContext(ctx, "unix", short)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("connecting to %s: %w", filepath.Join(dir, socket), err)
	}
	return conn, nil
}

// session is a conversation in QEMU's machine protocol: JSON, one object at a
// time, commands answered in turn.
type session struct {
	conn   net.Conn
	in     *bufio.Reader
	cancel func() bool
}

// newSession ties a connection to ctx: when that ends, reading and writing fail.
func newSession(ctx context.Context, conn net.Conn) *session {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return &session{conn: conn, in: bufio.NewReader(conn), cancel: stop}
}

func (s *session) close() {
	s.cancel()
	s.conn.Close()
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *QMPError       `json:"error"`
	Event  string          `json:"event"`
}

// execute sends a command and waits for its answer; result may be nil.
func (s *session) execute(command string, arguments, result any) error {
	if err := s.send(command, arguments); err != nil {
		return err
	}
	return s.answer(command, result)
}

// answer waits for the answer to what has been sent.
func (s *session) answer(command string, result any) error {
	for {
		r, err := s.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if r.Error != nil {
			r.Error.Command = command
			return r.Error
		}
		if r.Return == nil {
			continue // an event, or the greeting
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Return, result)
	}
}

func (s *session) send(command string, arguments any) error {
	message := map[string]any{"execute": command}
	if arguments != nil {
		message["arguments"] = arguments
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := s.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// receive reads one line. Both programs write one object a line.
func (s *session) receive() (reply, error) {
	line, err := readLine(s.in, maxReply)
	if err != nil {
		return reply{}, err
	}
	return parseReply(line)
}

func parseReply(line []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("not an answer: %w", err)
	}
	return r, nil
}

var errTooLong = errors.New("the answer is too long")

func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, errTooLong
		}
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// qmp runs one command. QEMU serves one client at a time, so sessions are short.
func qmp(ctx context.Context, dir, command string, arguments, result any) error {
	conn, err := dial(ctx, dir, QMPSocket)
	if err != nil {
		return err
	}
	s := newSession(ctx, conn)
	defer s.close()
	if err := s.execute("qmp_capabilities", nil, nil); err != nil {
		return causeOf(ctx, err)
	}
	return causeOf(ctx, s.execute(command, arguments, result))
}

// causeOf says that time ran out, where that is why the connection broke.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%v)", context.Cause(ctx), err)
	}
	return err
}
