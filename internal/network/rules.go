package network

import (
	"strings"
	"text/template"
)

// rulesText is one nft transaction that sets an instance's rules afresh and
// leaves the set of known machines (ports) as it is.
//
// The accept verdicts let traffic pass here only: a host whose own firewall
// drops forwarded packets goes on doing so.
const rulesText = `add table inet {{.Mark}}
add chain inet {{.Mark}} input { type filter hook input priority -10; policy accept; }
add chain inet {{.Mark}} forward { type filter hook forward priority -10; policy accept; }
add chain inet {{.Mark}} metadata { type nat hook prerouting priority -100; policy accept; }
add chain inet {{.Mark}} postrouting { type nat hook postrouting priority 100; policy accept; }
flush table inet {{.Mark}}

# Machines find the service that gives them tokens at 169.254.169.254, and nowhere else; nobody but machines gets to it.
add rule inet {{.Mark}} metadata iifname "{{.Bridge}}" ip saddr {{.Machines}} ip daddr 169.254.169.254 tcp dport 80 dnat ip to {{.Gateway}}:{{.Metadata}}
add rule inet {{.Mark}} input iifname != { "{{.Bridge}}", "lo" } ip daddr {{.Gateway}} tcp dport {{.Metadata}} drop
add rule inet {{.Mark}} input iifname "{{.Bridge}}" ip saddr {{.Machines}} ip daddr {{.Gateway}} tcp dport {{.Metadata}} ct original ip daddr 169.254.169.254 accept

# Nothing in here may open a connection to the host, at any of its addresses.
add rule inet {{.Mark}} input iifname != "{{.Mark}}*" accept
add rule inet {{.Mark}} input ct state established,related accept
add rule inet {{.Mark}} input drop

# Answers come in; nobody outside opens a connection to a machine or a step.
add rule inet {{.Mark}} forward oifname "{{.Mark}}*" ct state established,related accept
{{if not .Isolate}}# Machines talk to each other; hosts whose bridges pass through the IP firewall bring that traffic here.
add rule inet {{.Mark}} forward iifname "{{.Bridge}}" oifname "{{.Bridge}}" accept
{{end}}add rule inet {{.Mark}} forward oifname "{{.Mark}}*" drop
add rule inet {{.Mark}} forward iifname != "{{.Mark}}*" accept
# Going out: with an address of one's own, never to another instance, nor to the cloud's metadata service, which would hand out the host's identity.
add rule inet {{.Mark}} forward oifname "hm*" drop
add rule inet {{.Mark}} forward ip saddr != { {{.Machines}}, {{.Steps}} } drop
add rule inet {{.Mark}} forward ip daddr { 169.254.0.0/16, 168.63.129.16 } drop
add rule inet {{.Mark}} forward meta nfproto ipv6 drop

add rule inet {{.Mark}} postrouting oifname != "{{.Mark}}*" ip saddr { {{.Machines}}, {{.Steps}} } masquerade

# On the bridge a machine speaks as itself only.
add table bridge {{.Mark}}
add set bridge {{.Mark}} ports { typeof meta iifname . ether saddr . ip saddr; }
add chain bridge {{.Mark}} prerouting { type filter hook prerouting priority -200; policy accept; }
flush chain bridge {{.Mark}} prerouting
add rule bridge {{.Mark}} prerouting iifname != "{{.Mark}}t*" accept
add rule bridge {{.Mark}} prerouting ether type ip meta iifname . ether saddr . ip saddr @ports accept
add rule bridge {{.Mark}} prerouting ether type arp meta iifname . arp saddr ether . arp saddr ip @ports accept
add rule bridge {{.Mark}} prerouting drop
`

var rulesTemplate = template.Must(template.New("rules").Parse(rulesText))

// MetadataPort is where, on the gateway's address, requests of machines to
// 169.254.169.254:80 arrive. The gateway is an instance's own, so the port is free.
const MetadataPort = 16925

// Rules returns the nft script that Ensure runs. Config must be valid.
func (c Config) Rules() string {
	var text strings.Builder
	data := struct {
		Mark, Bridge    string
		Gateway         string
		Metadata        int
		Machines, Steps string
		Isolate         bool
	}{c.mark(), c.Bridge(), c.Gateway().String(), MetadataPort, c.Machines.String(), c.Steps.String(), c.Isolate}
	if err := rulesTemplate.Execute(&text, data); err != nil {
		return "" // cannot be: a builder does not fail and the fields exist
	}
	return text.String()
}

// element is the set element that lets a machine speak as itself.
func (p Port) element(tap string) string {
	return "{ \"" + tap + "\" . " + p.MAC + " . " + p.Address.String() + " }"
}
