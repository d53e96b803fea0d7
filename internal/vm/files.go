package vm

// The files of a machine's folder. The folder is 0700: the console may show
// secrets, and the sockets command the machine.
const (
	ConfigFile     = "machine.json"  // Config; a folder without it is not a machine
	OSDiskFile     = "os.qcow2"      // overlay on a read-only image
	VarsFile       = "vars.fd"       // the machine's own UEFI variables
	SeedFile       = "seed.iso"      // cloud-init NoCloud
	ConsoleFile    = "console.log"   // serial console since the last rotation
	OldConsoleFile = "console.log.1" // what was before
	LogFile        = "qemu.log"      // what QEMU says on its standard error
	ProcessFile    = "process.json"  // which process runs the machine
	PIDFile        = "qemu.pid"      // the same, written by QEMU itself
	QMPSocket      = "qmp.sock"
	ConsoleSocket  = "console.sock"
	AgentSocket    = "agent.sock"
)

// partSuffix marks what is not complete; Sweep removes it.
const partSuffix = ".part"
