package host

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/rp/compute"
)

// Jobs runs scripts in guests through their agent. A job's folder in the guest holds all that is
// known of it, so that any process can look: .hallmark/job names it (written with the folder,
// whose renaming is what begins the job), boot and pid say whether it can still run, code is
// written when it has ended.
type Jobs struct{ Machines Machines }

var (
	jobID = regexp.MustCompile(`^[0-9a-f-]{36}$`)
	// A user's name goes into a command line inside.
	jobUser = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

// begin makes the folder and starts the runner, out of the agent's own control group: what a script
// does to the agent must not end the script. What a script leaves running stays.
const begin = `set -e
[ "$(cat "$dir/.hallmark/job" 2>/dev/null)" != "$id" ] || exit 0
umask 077
(umask 022; mkdir -p "$(dirname "$dir")")
rm -rf "$dir.part"
mkdir -p "$dir.part/.hallmark"
cd "$dir.part"
base64 -d >.hallmark/script
printf %s "$id" >.hallmark/job
cat /proc/sys/kernel/random/boot_id >.hallmark/boot
date +%s >.hallmark/began
cat >.hallmark/run <<'END'
cd "$(dirname "$0")/.."
echo $$ >.hallmark/pid
export HOME="${HOME:-/root}"
"$@" >stdout 2>stderr </dev/null
code=$?
rm -f .hallmark/script
date +%s >.hallmark/ended
echo "$code" >.hallmark/code.part
mv .hallmark/code.part .hallmark/code
END
chmod 700 .hallmark/script
[ -z "$user" ] || chown -R "$user": .
rm -rf "$dir"
mv "$dir.part" "$dir"
cd /
set -- "$dir/.hallmark/script"
[ -z "$user" ] || set -- runuser -u "$user" -- "$@"
if [ -d /run/systemd/system ]; then
  exec systemd-run --quiet --collect --no-block --unit="hallmark-job-$id" --property=KillMode=process /bin/sh "$dir/.hallmark/run" "$@"
fi
setsid /bin/sh "$dir/.hallmark/run" "$@" >/dev/null 2>&1 </dev/null &
`

const look = `cd "$dir/.hallmark" 2>/dev/null && [ "$(cat job)" = "$id" ] || { echo state unknown; exit 0; }
state=running
if [ "$(cat boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]; then state=lost
elif [ -e pid ] && ! kill -0 "$(cat pid)" 2>/dev/null; then state=lost
fi
[ ! -e code ] || state="done $(cat code)"
echo "state $state"
echo "began $(cat began)"
[ ! -e ended ] || echo "ended $(cat ended)"
for f in stdout stderr; do
  [ ! -e "../$f" ] || echo "$f $(tail -c 4096 "../$f" | base64 -w 0)"
done
`

const forget = `[ "$(cat "$dir/.hallmark/job" 2>/dev/null)" = "$id" ] || exit 0
systemctl kill --signal=KILL "hallmark-job-$id.service" 2>/dev/null || true
pid=$(cat "$dir/.hallmark/pid" 2>/dev/null) && kill -s KILL -- "-$pid" 2>/dev/null || true
rm -rf "$dir"
`

// Begin starts the job.
func (j Jobs) Begin(ctx context.Context, machine string, job compute.Job) error {
	_, err := j.run(ctx, machine, job, begin, job.Script)
	return err
}

// Look asks for the job's state.
func (j Jobs) Look(ctx context.Context, machine string, job compute.Job) (compute.JobState, error) {
	out, err := j.run(ctx, machine, job, look, "")
	if err != nil {
		return compute.JobState{}, err
	}
	return parseJob(out)
}

// Forget ends and removes the job.
func (j Jobs) Forget(ctx context.Context, machine string, job compute.Job) error {
	_, err := j.run(ctx, machine, job, forget, "")
	return err
}

// jobPatience bounds how long one question about a job may take: a guest that hangs must not
// keep a worker.
const jobPatience = 2 * time.Minute

// run runs one of the scripts above; input reaches it in base64 on standard input.
func (j Jobs) run(ctx context.Context, machine string, job compute.Job, script, input string) (string, error) {
	text, err := scriptFor(job, script, input)
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, jobPatience)
	defer cancel()
	out, err := j.Machines.Exec(limited, machine, text)
	if err != nil && !errors.Is(err, compute.ErrAgent) {
		err = fmt.Errorf("%w: %w", compute.ErrAgent, err) // whatever it was, the guest may answer the next time
	}
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("a job in the guest: exit code %d: %s", out.ExitCode, strings.TrimSpace(out.Stderr))
	}
	return out.Stdout, err
}

// scriptFor is one of the scripts above for one job.
func scriptFor(job compute.Job, script, input string) (string, error) {
	if !jobID.MatchString(job.ID) || !path.IsAbs(job.Dir) || path.Clean(job.Dir) != job.Dir || strings.ContainsAny(job.Dir, "'\n") || job.User != "" && !jobUser.MatchString(job.User) {
		return "", fmt.Errorf("not a job: id %q, folder %q, user %q", job.ID, job.Dir, job.User)
	}
	text := fmt.Sprintf("dir='%s' id=%s user=%s\n", job.Dir, job.ID, job.User)
	if input != "" {
		text += "exec <<'HALLMARK'\n" + wrap(withInterpreter(input)) + "HALLMARK\n"
	}
	return text + script, nil
}

func withInterpreter(script string) string {
	if strings.HasPrefix(script, "#!") {
		return script
	}
	return "#!/bin/sh\n" + script
}

func wrap(input string) string {
	text := base64.StdEncoding.EncodeToString([]byte(input))
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	return b.String() + text + "\n"
}

var errJobState = errors.New("the guest's answer about a job cannot be read")

// parseJob reads what look prints.
func parseJob(text string) (s compute.JobState, err error) {
	seen := false
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "state":
			seen = true
			err = errors.Join(err, readState(&s, value))
		case "began":
			s.Began = moment(value)
		case "ended":
			s.Ended = moment(value)
		case "stdout":
			s.Stdout = decoded(value)
		case "stderr":
			s.Stderr = decoded(value)
		}
	}
	if !seen {
		err = errors.Join(err, errJobState)
	}
	return s, err
}

func readState(s *compute.JobState, text string) (err error) {
	word, code, _ := strings.Cut(text, " ")
	s.Known = word != "unknown"
	switch word {
	case "unknown", "running":
	case "lost":
		s.Lost = true
	case "done":
		s.Done = true
		s.ExitCode, err = strconv.Atoi(strings.TrimSpace(code))
	default:
		err = errJobState
	}
	return err
}

func moment(text string) time.Time {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func decoded(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(raw), "\uFFFD")
}
