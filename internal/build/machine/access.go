package machine

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// port is not the image's own SSH server's: that may be configured, restarted or
// removed by the step.
const port = "2222"

// access is how one machine is entered: keys that live as long as it does.
type access struct {
	host       ssh.PublicKey // the machine proves to be the one that was started
	hostKey    []byte        // its private half, for the machine
	client     ssh.Signer
	authorized string
}

func newAccess() (access, error) {
	host, hostKey, err := newKey()
	if err != nil {
		return access{}, err
	}
	client, _, err := newKey()
	if err != nil {
		return access{}, err
	}
	return access{host: host.PublicKey(), hostKey: hostKey, client: client,
		authorized: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(client.PublicKey())))}, nil
}

func newKey() (ssh.Signer, []byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, nil, fmt.Errorf("making a key for a machine: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	return signer, pem.EncodeToMemory(block), err
}

// hostKey is the image's own, where it has none yet.
const hostKey = "/etc/ssh/ssh_host_ed25519_key"

// sshdConfig is sshd_config(5), with everything below /run. PAM stays on: without
// it sshd refuses a root whose password is locked, as every image's is.
const sshdConfig = `Port ` + port + `
ListenAddress 0.0.0.0
HostKey /run/hallmark-ssh/host_key
AuthorizedKeysFile /run/hallmark-ssh/authorized_keys
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM yes
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PrintMotd no
PidFile none
Subsystem sftp internal-sftp
`

// start runs early in the boot, as cloud-init's bootcmd. The image's own SSH
// server is to come up as usual, and a sealed image has no host key: one that
// failed would take the directory with it that ours needs, too. The package
// manager's own timers would take its lock away from the step.
const start = `set -e
if ! ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1; then
  ssh-keygen -q -t ed25519 -N '' -f ` + hostKey + `
  touch /run/hallmark-ssh/made-host-key
fi
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service dnf-makecache.timer; do
  systemctl mask --runtime --quiet "$unit" 2>/dev/null || true
done
sshd=$(command -v sshd || echo /usr/sbin/sshd)
systemd-run --no-block --quiet --unit=hallmark-step -p ExecStartPre='/bin/mkdir -p -m 0755 /run/sshd' \
  -p Restart=on-failure -p RestartSec=1 -p StartLimitIntervalSec=0 "$sshd" -D -e -f /run/hallmark-ssh/sshd_config
`

// cloudConfig keeps cloud-init from everything but starting our server: no users,
// no host keys, no host name, no growing, no packages.
func (a access) cloudConfig() []byte {
	var script bytes.Buffer
	script.WriteString("mkdir -p -m 0700 /run/hallmark-ssh\numask 077\n")
	for name, content := range map[string]string{"host_key": string(a.hostKey), "authorized_keys": a.authorized + "\n", "sshd_config": sshdConfig} {
		// The content is keys and configuration of our own, none of which can hold the delimiter.
		fmt.Fprintf(&script, "cat > /run/hallmark-ssh/%s <<'HALLMARK-END'\n%sHALLMARK-END\n", name, content)
	}
	script.WriteString(start)
	text, err := json.Marshal(map[string]any{
		"users": []any{}, "disable_root": false, "ssh_deletekeys": false, "preserve_hostname": true, "manage_etc_hosts": false,
		"growpart": map[string]any{"mode": "off"}, "resize_rootfs": false,
		"cloud_init_modules": []string{"bootcmd"}, "cloud_config_modules": []string{}, "cloud_final_modules": []string{},
		"bootcmd": []any{[]string{"/bin/sh", "-c", script.String()}},
	})
	if err != nil {
		return nil // cannot be: texts, lists and booleans only
	}
	return append([]byte("#cloud-config\n"), text...)
}
