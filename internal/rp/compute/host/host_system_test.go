package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/base"
	bridge "hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/compute/host"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/vm"
)

// patience is for a machine that is emulated on a busy host.
const patience = 10 * time.Minute

// system is a control plane over this host.
type system struct {
	*providertest.Server
	t      *testing.T
	config compute.Config
}

func startSystem(t *testing.T) *system {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("boots a real machine as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for the bridge and for assembling a base image")
	}
	dir := t.TempDir()
	wires := wire(t, dir)
	accel, err := vm.Choose(t.Context(), os.Getenv(vm.AccelEnv), filepath.Join(dir, "accel.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("accelerator: %s (%s)", accel.Accel, accel.Reason)
	boot, err := vm.BootID()
	if err != nil {
		t.Fatal(err)
	}
	servers, _ := bridge.Resolvers() // the test needs no names
	engine := host.Machines{Root: filepath.Join(dir, "machines"), Accel: accel.Accel}
	key, err := secret.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := compute.Config{
		Machines: engine, Jobs: host.Jobs{Machines: engine}, Secrets: key, Volumes: host.Volumes{Dir: filepath.Join(dir, "disks")},
		Network: host.Network{Engine: wires}, Replicas: regions(t, dir), Catalogue: host.Marketplace{Store: bases(t)},
		Locations: []string{"local"}, Memory: 4096, Subnet: wires.Config().Machines, Gateway: wires.Config().Gateway(), Nameservers: servers, BootID: boot,
	}
	networks := network.Config{Prefix: wires.Config().Machines}
	s := providertest.Start(t, providertest.With(compute.New(cfg), network.New(networks), network.NewScaleSets(networks)))
	t.Cleanup(func() { // whatever happened, no process is left
		nothing := func(string) bool { return false }
		if err := cfg.Machines.Sweep(context.Background(), nothing); err != nil {
			t.Error(err)
		}
	})
	return &system{s, t, cfg}
}

func wire(t *testing.T, dir string) *bridge.Network {
	t.Helper()
	taken, err := bridge.HostPrefixes()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := bridge.Default(dir, taken)
	if err != nil {
		t.Fatal(err)
	}
	n, err := bridge.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := n.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func regions(t *testing.T, dir string) host.Replicas {
	t.Helper()
	r, err := region.Open("local", filepath.Join(dir, "regions", "local"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return host.Replicas{"local": r}
}

// bases are kept between runs: assembling one takes a minute.
func bases(t *testing.T) *base.Store {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	s, err := base.Open(filepath.Join(cache, "hallmark-test", "base"), base.NewCatalogue(nil), base.Mirror{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// settled waits until a resource has got somewhere, and answers with it.
func (s *system) settled(id arm.ID) json.RawMessage {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		body, err := s.Client.Get(s.t.Context(), id)
		if err != nil {
			s.t.Fatal(err)
		}
		switch arm.ProvisioningState(arm.GetString(body, "properties.provisioningState")) {
		case arm.StateSucceeded:
			return body
		case arm.StateFailed, arm.StateCanceled:
			d, _ := store.Get(s.t.Context(), s.Store, id.Key())
			s.t.Fatalf("%s failed: %s\n%s", id, body, d.Private)
		}
	}
	s.t.Fatalf("%s does not settle", id)
	return nil
}

func (s *system) put(id arm.ID, body string) json.RawMessage {
	s.t.Helper()
	if _, err := s.Client.Put(s.t.Context(), id, json.RawMessage(body)); err != nil {
		s.t.Fatal(err)
	}
	return s.settled(id)
}

func machineBody(reference, key string) string {
	return fmt.Sprintf(`{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},
		"storageProfile":{"imageReference":%s,"osDisk":{"deleteOption":"Delete"},"dataDisks":[{"lun":0,"createOption":"Empty","diskSizeGB":1,"deleteOption":"Delete"}]},
		"osProfile":{"computerName":"test-1","adminUsername":"azureuser","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"keyData":%q}]}}}}}`, reference, key)
}

// login runs a command over SSH, as soon as the machine answers.
func login(t *testing.T, address string, key ssh.Signer, command string) string {
	t.Helper()
	config := &ssh.ClientConfig{User: "azureuser", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 20 * time.Second}
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		client, err := ssh.Dial("tcp", net.JoinHostPort(address, "22"), config)
		if err != nil {
			last = err
			continue
		}
		defer client.Close()
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := session.CombinedOutput(command)
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	t.Fatalf("no login over SSH at %s: %v", address, last)
	return ""
}

// TestMachine boots one real machine and does with it what needs one: log in with the injected
// key, run a command through the agent, power off, take an image, start a machine
// from that, delete everything.
func TestMachine(t *testing.T) {
	s := startSystem(t)
	key, line := newKey(t)
	id := providertest.Group().Resource(compute.TypeVM, "test-1")
	body := s.put(id, machineBody(`{"publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"}`, line))
	address := s.address(body)
	t.Logf("%s at %s", arm.GetString(body, "properties.vmId"), address)

	if got := login(t, address, key, "hostname; id -un; lsblk --bytes --nodeps --noheadings --output SIZE /dev/sda"); got != "test-1\nazureuser\n1073741824" {
		t.Errorf("inside, hostname, user and data disk are %q", got)
	}
	s.runCommand(id)
	view, err := s.Client.Post(t.Context(), id, "retrieveBootDiagnosticsData", nil)
	if err != nil || arm.GetString(view, "serialConsoleLogBlobUri") == "" {
		t.Errorf("boot diagnostics: %v %s", err, view)
	}
	s.act(id, "deallocate")
	s.act(id, "generalize")
	image := providertest.Group().Resource(compute.TypeImage, "captured")
	s.put(image, fmt.Sprintf(`{"location":"local","properties":{"sourceVirtualMachine":{"id":%q}}}`, id))

	second := providertest.Group().Resource(compute.TypeVM, "test-2")
	begun := time.Now()
	s.put(second, machineBody(fmt.Sprintf(`{"id":%q}`, image), line))
	t.Logf("from the request until the hypervisor runs: %s", time.Since(begun).Round(time.Millisecond))
	for _, gone := range []arm.ID{second, id} {
		s.delete(gone)
	}
	for _, left := range []string{"machines", "disks"} {
		dir := filepath.Dir(s.config.Volumes.File("x"))
		if entries, _ := os.ReadDir(filepath.Join(filepath.Dir(dir), left)); len(entries) > 0 {
			t.Errorf("left in %s: %v", left, entries)
		}
	}
}

func (s *system) address(vm json.RawMessage) string {
	s.t.Helper()
	var doc struct {
		Properties struct {
			NetworkProfile struct{ NetworkInterfaces []struct{ ID string } }
		}
	}
	if err := json.Unmarshal(vm, &doc); err != nil || len(doc.Properties.NetworkProfile.NetworkInterfaces) != 1 {
		s.t.Fatalf("%v: %s", err, vm)
	}
	id, err := arm.ParseID(doc.Properties.NetworkProfile.NetworkInterfaces[0].ID)
	if err != nil {
		s.t.Fatal(err)
	}
	nic, err := s.Client.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	var n struct {
		Properties struct {
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	if err := json.Unmarshal(nic, &n); err != nil {
		s.t.Fatal(err)
	}
	return n.Properties.IPConfigurations[0].Properties.PrivateIPAddress
}

// act runs an action to its end.
func (s *system) act(id arm.ID, action string) {
	s.t.Helper()
	if _, err := s.Client.Post(s.t.Context(), id, action, nil); err != nil {
		s.t.Fatal(err)
	}
	s.settled(id)
}

func (s *system) runCommand(id arm.ID) {
	s.t.Helper()
	status, header, body := s.Do(s.t, "POST", id.String()+"/runCommand?api-version=2024-07-01",
		`{"commandId":"RunShellScript","script":["#!/bin/bash","echo \"$who is $(id -un)\"","echo oops >&2","exit 4"],"parameters":[{"name":"who","value":"it's me"}]}`)
	if status != 202 {
		s.t.Fatalf("runCommand: %d %s", status, body)
	}
	poll := strings.TrimPrefix(header.Get("Location"), s.URL)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && status == 202; time.Sleep(50 * time.Millisecond) {
		status, _, body = s.Do(s.t, "GET", poll, nil)
	}
	var result struct {
		Hallmark struct {
			ExitCode       int
			Stdout, Stderr string
		}
	}
	if err := json.Unmarshal(body, &result); err != nil || result.Hallmark.ExitCode != 4 || result.Hallmark.Stdout != "it's me is root\n" || result.Hallmark.Stderr != "oops\n" {
		s.t.Errorf("runCommand: %d %s", status, body)
	}
}

func (s *system) delete(id arm.ID) {
	s.t.Helper()
	if err := s.Client.Delete(s.t.Context(), id); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := s.Client.Get(s.t.Context(), id); arm.IsNotFound(err) {
			s.Settle(s.t)
			return
		}
	}
	s.t.Fatalf("%s is still there", id)
}
