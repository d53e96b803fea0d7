package compute

import (
	"encoding/json"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/shellword"
)

// access are VMAccessForLinux's protected settings: what `az vm user` sends.
// Source: Azure's "Use the VMAccess extension to manage users on Linux".
type access struct {
	Username   string `json:"username"`
	Password   string `json:"password"`
	SSHKey     string `json:"ssh_key"`
	ResetSSH   any    `json:"reset_ssh"`
	RemoveUser string `json:"remove_user"`
	Expiration string `json:"expiration"`
}

func composeAccess(_, protected json.RawMessage) (string, []*arm.Error) {
	in, errs := readSettings[access](protected, atProtected)
	if len(errs) > 0 {
		return "", errs
	}
	var b strings.Builder
	b.WriteString("set -e\n")
	if in.ResetSSH == true || in.ResetSSH == "true" || in.ResetSSH == "True" {
		b.WriteString(resetSSH)
	}
	if in.RemoveUser != "" {
		errs = append(errs, checkUser(in.RemoveUser, ".remove_user")...)
		b.WriteString("userdel --remove " + shellword.Quote(in.RemoveUser) + "\n")
	}
	if in.Username != "" {
		line, err := updateUser(in)
		errs = append(errs, err...)
		b.WriteString(line)
	}
	if in.Username == "" && in.RemoveUser == "" && !strings.Contains(b.String(), resetSSH) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, atProtected, "There is nothing to do: give username, remove_user or reset_ssh."))
	}
	return b.String(), errs
}

func checkUser(name, at string) []*arm.Error {
	if adminName.MatchString(name) && name != "root" {
		return nil
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, atProtected+at, "The user name is not valid: 1 to 32 lower-case letters, digits, underscores or dashes, not beginning with a digit or dash, and not root.")}
}

// updateUser makes the user if there is none, with sudo as the machine's first user has it.
func updateUser(in access) (string, []*arm.Error) {
	errs := checkUser(in.Username, ".username")
	user := shellword.Quote(in.Username)
	script := "u=" + user + "\n" + makeUser
	if in.Password != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(in.Password), bcrypt.DefaultCost)
		if err != nil || !strongPassword(in.Password) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, atProtected+".password", "The password must have 6 to 72 characters of at least three kinds: upper case, lower case, digits, others."))
		}
		script += "usermod --password " + shellword.Quote(string(hash)) + " \"$u\"\n"
	}
	if in.SSHKey != "" {
		key := strings.TrimSpace(in.SSHKey)
		if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(key)); err != nil || len(rest) > 0 || strings.ContainsAny(key, "\r\n") {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, atProtected+".ssh_key", "The key is not one SSH public key as in ~/.ssh/id_ed25519.pub."))
		}
		script += "k=" + shellword.Quote(key) + "\n" + addKey
	}
	return script, errs
}

const makeUser = `id "$u" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$u"
for g in adm sudo; do getent group "$g" >/dev/null && usermod --append --groups "$g" "$u"; done
echo "$u ALL=(ALL) NOPASSWD:ALL" >"/etc/sudoers.d/90-vm-access-$u"
chmod 440 "/etc/sudoers.d/90-vm-access-$u"
`

const addKey = `h=$(getent passwd "$u" | cut -d: -f6)
mkdir -p "$h/.ssh"
grep -qxF "$k" "$h/.ssh/authorized_keys" 2>/dev/null || echo "$k" >>"$h/.ssh/authorized_keys"
chmod 700 "$h/.ssh"
chmod 600 "$h/.ssh/authorized_keys"
chown -R "$u": "$h/.ssh"
`

// resetSSH takes away what shuts people out of sshd; keys and users stay.
const resetSSH = `cp -p /etc/ssh/sshd_config /etc/ssh/sshd_config.vm-access
printf 'Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\nPubkeyAuthentication yes\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding no\nPrintMotd no\nAcceptEnv LANG LC_*\nSubsystem sftp internal-sftp\n' >/etc/ssh/sshd_config
sshd -t || { mv /etc/ssh/sshd_config.vm-access /etc/ssh/sshd_config; exit 1; }
systemctl restart ssh.service 2>/dev/null || systemctl restart sshd.service
`
