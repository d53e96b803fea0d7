package compute_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/store"
)

// world is all that compute drives, in memory. It can be told to die at a point: before
// a side effect happens, or after it has happened but before anybody learns of it.
// From then on nothing succeeds any more, as in a process that has been killed.
type world struct {
	mu       sync.Mutex
	machines map[string]compute.Machine // that run
	folders  map[string]compute.Machine // that exist
	volumes  map[string]volume
	ports    map[string]netip.Addr
	replicas map[string]int64 // location/digest: virtual size
	bases    map[string]bool  // assembled marketplace images
	blobs    map[string]int64
	started  map[string]int // how often each machine has been started
	scripts  []string
	copied   []string               // files of disks that were copied while their machines ran
	copying  func()                 // happens while a disk is copied
	jobs     map[string]compute.Job // by machine and id
	endless  bool                   // jobs do not end
	free     int64

	points []string // in the order in which they were passed
	die    string   // the point at which to die, such as "before Machines.Start"
	dead   bool
	died   chan struct{}    // closed by dying
	writes int              // to the store since the last start
	last   int              // die at the write of this number; 0 for never
	broken map[string]error // engine calls that fail, without dying
	lies   bool             // what is broken does its work nevertheless
	agent  error            // what the guest agents answer
	output compute.Output
	hang   chan struct{} // Exec waits for it, if set
}

type volume struct {
	size      int64
	backing   string
	allocated int64
}

var errKilled = errors.New("the process has been killed")

func newWorld() *world {
	return &world{machines: map[string]compute.Machine{}, folders: map[string]compute.Machine{}, volumes: map[string]volume{}, ports: map[string]netip.Addr{},
		replicas: map[string]int64{"local/" + digest("1"): 4 << 30}, bases: map[string]bool{}, blobs: map[string]int64{}, started: map[string]int{}, jobs: map[string]compute.Job{},
		free: 1 << 40, broken: map[string]error{}, died: make(chan struct{})}
}

func digest(s string) string { return "sha256:" + strings.Repeat(s, 64) }

// do is a side effect at a named point.
func (w *world) do(point string, effect func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return errKilled
	}
	if err := w.broken[point]; err != nil {
		if w.lies {
			effect()
		}
		return err
	}
	w.points = append(w.points, "before "+point, "after "+point)
	if w.die == "before "+point {
		return w.kill()
	}
	effect()
	if w.die == "after "+point {
		return w.kill()
	}
	return nil
}

func (w *world) kill() error {
	w.dead = true
	close(w.died)
	return errKilled
}

// revive is the next start of the process; passed are the points until then.
func (w *world) revive() (passed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	passed = w.points
	w.points, w.die, w.dead, w.died = nil, "", false, make(chan struct{})
	w.writes, w.last = 0, 0
	return passed
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

type machines struct{ *world }

func (m machines) Start(_ context.Context, c compute.Machine) error {
	return m.do("Machines.Start", func() {
		if _, runs := m.machines[c.Name]; runs {
			return
		}
		m.machines[c.Name], m.folders[c.Name] = c, c
		m.started[c.Name]++
	})
}

func (m machines) Stop(_ context.Context, name string, _ time.Duration) error {
	return m.do("Machines.Stop", func() { delete(m.machines, name) })
}

func (m machines) Running(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.machines[name]
	return ok
}

func (m machines) Agent(context.Context, string) (compute.AgentInfo, error) {
	return compute.AgentInfo{Version: "7.2", OSName: "Debian GNU/Linux", OSVersion: "12"}, m.agent
}

func (m machines) Accelerator() string { return "tcg" }

func (m machines) Exec(ctx context.Context, _ string, script string) (compute.Output, error) {
	err := m.do("Machines.Exec", func() { m.scripts = append(m.scripts, script) })
	if err == nil && m.hang != nil {
		select {
		case <-ctx.Done():
			return compute.Output{}, ctx.Err()
		case <-m.hang:
		}
	}
	return m.output, errors.Join(err, m.agent)
}

func (m machines) SetDisks(_ context.Context, c compute.Machine) error {
	return m.do("Machines.SetDisks", func() {
		if runs, ok := m.machines[c.Name]; ok {
			runs.Disks = c.Disks
			m.machines[c.Name] = runs
		}
	})
}

func (m machines) GrowDisk(ctx context.Context, _, path string, size int64) error {
	name := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".qcow2")
	return m.do("Machines.GrowDisk", func() {
		grown := m.volumes[name]
		grown.size = size
		m.volumes[name] = grown
	})
}

func (m machines) CopyDisk(_ context.Context, name, path, _ string) error {
	return m.do("Machines.CopyDisk", func() {
		if m.copied = append(m.copied, path); m.copying != nil {
			m.copying()
		}
	})
}

// jobs are the guests' jobs; those that have been begun have ended, unless they are to run.
type jobs struct{ *world }

func (j jobs) Begin(_ context.Context, machine string, job compute.Job) error {
	if j.agent != nil {
		return j.agent
	}
	return j.do("Jobs.Begin", func() {
		if _, known := j.jobs[machine+job.ID]; !known {
			j.jobs[machine+job.ID] = job
			j.scripts = append(j.scripts, job.Script)
		}
	})
}

func (j jobs) Look(_ context.Context, machine string, job compute.Job) (compute.JobState, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return compute.JobState{}, errKilled
	}
	if j.agent != nil {
		return compute.JobState{}, j.agent
	}
	if _, known := j.jobs[machine+job.ID]; !known {
		return compute.JobState{}, nil
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	if j.endless {
		return compute.JobState{Known: true, Began: now}, nil
	}
	return compute.JobState{Known: true, Done: true, ExitCode: j.output.ExitCode, Stdout: j.output.Stdout, Stderr: j.output.Stderr, Began: now, Ended: now}, nil
}

func (j jobs) Forget(_ context.Context, machine string, job compute.Job) error {
	return j.do("Jobs.Forget", func() { delete(j.jobs, machine+job.ID) })
}

// sealer is no cipher, but what it makes does not show what went in.
type sealer struct{}

func (sealer) Seal(plain []byte) ([]byte, error) {
	sealed := append([]byte("sealed"), plain...)
	for i := range sealed {
		sealed[i] ^= 0x5a
	}
	return sealed, nil
}

func (sealer) Open(sealed []byte) ([]byte, error) {
	plain := slices.Clone(sealed)
	for i := range plain {
		plain[i] ^= 0x5a
	}
	if !strings.HasPrefix(string(plain), "sealed") {
		return nil, errors.New("not sealed")
	}
	return plain[len("sealed"):], nil
}

func (m machines) Console(name string, _ int64) ([]byte, error) {
	return []byte("console of " + name + "\n"), nil
}

func (m machines) Remove(_ context.Context, name string) error {
	return m.do("Machines.Remove", func() {
		delete(m.machines, name)
		delete(m.folders, name)
	})
}

func (m machines) Sweep(_ context.Context, keep func(string) bool) error {
	return m.do("Machines.Sweep", func() {
		for name := range m.folders {
			if !keep(name) {
				delete(m.machines, name)
				delete(m.folders, name)
			}
		}
	})
}

type volumes struct{ *world }

func (v volumes) File(name string) string { return "/volumes/" + name + ".qcow2" }

func (v volumes) put(point, name string, made volume) error {
	return v.do("Volumes."+point, func() {
		if _, there := v.volumes[name]; !there {
			v.volumes[name] = made
		}
	})
}

func (v volumes) Overlay(_ context.Context, name, backing string, size int64) error {
	return v.put("Overlay", name, volume{size, backing, 1 << 20})
}

func (v volumes) Empty(_ context.Context, name string, size int64) error {
	return v.put("Empty", name, volume{size, "", 1 << 20})
}

func (v volumes) Copy(_ context.Context, name, _ string, size int64) error {
	return v.put("Copy", name, volume{size, "", size})
}

func (v volumes) Fill(_ context.Context, name string, size int64, fill func(file string) error) error {
	if err := fill("/volumes/" + name + ".part"); err != nil {
		return err
	}
	return v.put("Fill", name, volume{size, "", size})
}

func (v volumes) Grow(_ context.Context, name string, size int64) error {
	return v.do("Volumes.Grow", func() {
		grown := v.volumes[name]
		grown.size = size
		v.volumes[name] = grown
	})
}

func (v volumes) Size(_ context.Context, path string) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".qcow2")
	if made, ok := v.volumes[name]; ok {
		return made.size, nil
	}
	if size, ok := v.replicas[strings.TrimSuffix(strings.TrimPrefix(path, "/regions/"), ".qcow2")]; ok {
		return size, nil
	}
	if size, ok := v.blobs[path]; ok {
		return size, nil
	}
	if v.bases[path] {
		return 4 << 30, nil
	}
	return 0, fmt.Errorf("%s: no such file", path)
}

func (v volumes) Backing(_ context.Context, name string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.volumes[name].backing, nil
}

func (v volumes) Allocated(name string) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.volumes[name].allocated
}

func (v volumes) Free() (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.free, nil
}

func (v volumes) Remove(_ context.Context, name string) error {
	return v.do("Volumes.Remove", func() { delete(v.volumes, name) })
}

func (v volumes) Sweep(_ context.Context, keep func(string) bool) error {
	return v.do("Volumes.Sweep", func() {
		for name := range v.volumes {
			if !keep(name) {
				delete(v.volumes, name)
			}
		}
	})
}

type bridge struct{ *world }

func (b bridge) Attach(_ context.Context, port, _ string, a netip.Addr) (string, error) {
	return "tap-" + port[:4], b.do("Network.Attach", func() { b.ports[port] = a })
}

func (b bridge) Detach(_ context.Context, port string) error {
	return b.do("Network.Detach", func() { delete(b.ports, port) })
}

func (b bridge) Sweep(_ context.Context, keep []string) error {
	return b.do("Network.Sweep", func() {
		for p := range b.ports {
			if !slices.Contains(keep, p) {
				delete(b.ports, p)
			}
		}
	})
}

type replicas struct{ *world }

func (r replicas) Path(_ context.Context, location, digest string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.replicas[location+"/"+digest]; !ok {
		return "", fmt.Errorf("%s in %s: %w", digest, location, compute.ErrNotReplicated)
	}
	return "/regions/" + location + "/" + digest + ".qcow2", nil
}

func (r replicas) DigestOf(path string) string {
	if !strings.HasPrefix(path, "/regions/") {
		return ""
	}
	return strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".qcow2")
}

func (r replicas) Use(ctx context.Context, location, digest string, do func(string) error) error {
	path, err := r.Path(ctx, location, digest)
	if err != nil {
		return err
	}
	return do(path)
}

func (r replicas) Ingest(ctx context.Context, location, path string, record func(context.Context, string) error) error {
	size, err := volumes{r.world}.Size(ctx, path)
	if err != nil {
		return err
	}
	if err := record(ctx, digest("c")); err != nil {
		return err
	}
	return r.do("Replicas.Ingest", func() { r.replicas[location+"/"+digest("c")] = size })
}

func (r replicas) Release(ctx context.Context, location, digest string, users func(context.Context) ([]string, error)) error {
	in, err := users(ctx)
	if err != nil || len(in) > 0 {
		return err
	}
	return r.do("Replicas.Release", func() { delete(r.replicas, location+"/"+digest) })
}

type artifacts struct{ *world }

func (a artifacts) Resolve(_ context.Context, uri string) (string, error) {
	if _, ok := a.blobs[uri]; !ok {
		return "", fmt.Errorf("%s: no such blob", uri)
	}
	return uri, nil
}

type marketplace struct{ *world }

var debian = compute.Entry{Publisher: "Debian", Offer: "debian-12", SKU: "12-gen2"}

func (m marketplace) Entries() []compute.Entry {
	return []compute.Entry{debian, {Publisher: "Debian", Offer: "debian-13", SKU: "13-gen2"}}
}

func (m marketplace) Versions(context.Context, compute.Entry) ([]string, error) {
	return []string{"12.20261001.1", "12.20261101.1"}, nil
}

func (m marketplace) Resolve(_ context.Context, publisher, offer, sku, version string) (compute.PlatformImage, error) {
	if !strings.EqualFold(publisher, "debian") || !strings.EqualFold(offer, "debian-12") || !strings.EqualFold(sku, "12-gen2") {
		return compute.PlatformImage{}, compute.ErrNoSuchImage
	}
	if version == "latest" {
		version = "12.20261101.1"
	}
	return compute.PlatformImage{Entry: debian, Version: version, Digest: digest("b")}, nil
}

func (m marketplace) Assemble(_ context.Context, p compute.PlatformImage, progress func(string)) (string, error) {
	path := "/bases/" + p.Version
	progress("installing packages")
	return path, m.do("Catalogue.Assemble", func() { m.bases[path] = true })
}

// mortal is a store that stops with the world. It can also be where the world dies: before
// a write of a certain number.
type mortal struct {
	store.Store
	*world
}

func (m mortal) Update(ctx context.Context, f func(store.Tx) error) error {
	m.mu.Lock()
	if m.writes++; m.writes == m.last && !m.dead {
		_ = m.kill()
	}
	if m.dead {
		m.mu.Unlock()
		return store.ErrClosed
	}
	m.mu.Unlock()
	return m.Store.Update(ctx, f)
}

func (m mortal) Changed() <-chan struct{} { return m.Store.(store.Notifier).Changed() }

func (w *world) config() compute.Config {
	return compute.Config{Machines: machines{w}, Jobs: jobs{w}, Secrets: sealer{}, Volumes: volumes{w}, Network: bridge{w}, Replicas: replicas{w}, Catalogue: marketplace{w}, Artifacts: artifacts{w},
		Locations: []string{"local", "north"}, Memory: 8192, Subnet: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.1"),
		Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, BootID: "boot-1"}
}
