package host_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
)

// TestScaleSet boots two real instances, scales to one, and moves that to another image.
func TestScaleSet(t *testing.T) {
	s := startSystem(t)
	key, line := newKey(t)
	id := providertest.Group().Resource(compute.TypeScaleSet, "web")
	s.put(id, setBody(`{"publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"}`, line, 2))
	addresses := s.instanceAddresses(id)
	if len(addresses) != 2 {
		t.Fatalf("instances at %v", addresses)
	}
	begun := time.Now()
	var both sync.WaitGroup
	for number, address := range addresses {
		both.Go(func() {
			if got, want := login(t, address, key, "sudo touch /etc/here; hostname"), "web00000"+number; got != want {
				t.Errorf("the instance %s is called %q", number, got)
			}
		})
	}
	both.Wait()
	t.Logf("two instances answer SSH after %s", time.Since(begun).Round(time.Second))

	image := s.image(line)
	s.put(id, `{"location":"local","sku":{"name":"Standard_B1s","capacity":1}}`) // as az scales
	if _, err := s.Client.Patch(t.Context(), id, json.RawMessage(fmt.Sprintf(`{"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":%q,"publisher":null,"offer":null,"sku":null,"version":null}}}}}`, image))); err != nil {
		t.Fatal(err)
	}
	s.settled(id)
	if _, err := s.Client.Post(t.Context(), id, "manualupgrade", json.RawMessage(`{"instanceIds":["*"]}`)); err != nil {
		t.Fatal(err)
	}
	s.settled(id)
	instance := id.Child("virtualMachines", "0")
	got, err := s.Client.Post(t.Context(), instance, "hallmarkIdentity", nil)
	body, bodyErr := s.Client.Get(t.Context(), image)
	if want := arm.GetString(body, "properties.hallmark.imageDigest"); err != nil || bodyErr != nil || want == "" || arm.GetString(got, "backingDigest") != want {
		t.Errorf("the updated instance stands on %s, want %s: %v %v", got, want, err, bodyErr)
	}
	if out := login(t, s.instanceAddresses(id)["0"], key, "test -e /etc/here && echo old || echo new; hostname"); out != "new\nweb000000" {
		t.Errorf("inside the updated instance: %q", out)
	}
	s.delete(id)
	for _, left := range []string{"machines", "disks"} {
		dir := filepath.Join(filepath.Dir(filepath.Dir(s.config.Volumes.File("x"))), left)
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("left in %s: %v", left, entries)
		}
	}
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(authorized)))
}

func setBody(reference, key string, capacity int) string {
	return fmt.Sprintf(`{"location":"local","sku":{"name":"Standard_B1s","capacity":%d},"properties":{"upgradePolicy":{"mode":"Manual"},"virtualMachineProfile":{
		"storageProfile":{"imageReference":%s},
		"osProfile":{"computerNamePrefix":"web","adminUsername":"azureuser","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"keyData":%q}]}}}}}}`, capacity, reference, key)
}

// image is a managed image with bytes of its own: of a machine that was stopped on its
// first boot.
func (s *system) image(key string) arm.ID {
	s.t.Helper()
	id := providertest.Group().Resource(compute.TypeVM, "source")
	s.put(id, machineBody(`{"publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"}`, key))
	if status, _, body := s.Do(s.t, "POST", id.String()+"/powerOff?skipShutdown=true&api-version=2024-07-01", nil); status != 202 {
		s.t.Fatalf("powerOff: %d %s", status, body)
	}
	s.settled(id)
	s.act(id, "generalize")
	image := providertest.Group().Resource(compute.TypeImage, "second")
	s.put(image, fmt.Sprintf(`{"location":"local","properties":{"sourceVirtualMachine":{"id":%q}}}`, id))
	s.delete(id)
	return image
}

// instanceAddresses maps instance numbers to addresses.
func (s *system) instanceAddresses(set arm.ID) map[string]string {
	s.t.Helper()
	items, err := s.Client.List(s.t.Context(), set, compute.TypeInstance)
	if err != nil {
		s.t.Fatal(err)
	}
	addresses := map[string]string{}
	for _, item := range items {
		addresses[arm.GetString(item, "instanceId")] = s.address(item)
	}
	return addresses
}
