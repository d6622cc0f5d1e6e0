package nfslab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"storebeat/test/lab"
)

// Server is nfs-ganesha, which serves every datastore.
type Server struct {
	lab      *Lab
	lease    time.Duration // of locks
	versions string        // of NFS that it speaks
	child    *exec.Cmd
	ended    chan struct{}
}

const (
	// ServerAddress is where the server is.
	ServerAddress = network + ".254"
	// ServerAddress6 is another address of the server, by IPv6.
	ServerAddress6 = network6 + "fe"
)

// configuration of the server. After a start it waits for a lock lease, in which
// clients claim again what they held.
func (s *Server) configuration() string {
	seconds := int(s.lease.Seconds())
	var b strings.Builder
	fmt.Fprintf(&b, `NFS_CORE_PARAM {
  Protocols = %s;
  NFS_Port = 2049;
  MNT_Port = 20048;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Enable_UDP = false;
  fsid_device = true;
}
NFSv4 {
  Minor_Versions = 1,2;
  Lease_Lifetime = %d;
  Grace_Period = %d;
  Delegations = false;
  RecoveryRoot = %q;
  Only_Numeric_Owners = true;
  Allow_Numeric_Owners = true;
}
NFS_KRB5 { Active_krb5 = false; }
LOG { Default_Log_Level = EVENT; }
`, s.versions, seconds, seconds, filepath.Join(s.lab.Dir, "recovery"))
	for i, d := range s.lab.Datastores {
		fmt.Fprintf(&b, "EXPORT {\n  Export_Id = %d;\n  Path = %q;\n  Pseudo = /%s;\n  Access_Type = RW;\n  Squash = No_Root_Squash;\n"+
			"  SecType = sys;\n  Protocols = %s;\n  Transports = TCP;\n  FSAL { Name = VFS; }\n}\n", i+1, d.Dir, d.Name, s.versions)
	}
	return b.String()
}

func newServer(l *Lab, lease time.Duration, version3 bool) (*Server, error) {
	s := &Server{lab: l, lease: lease, versions: "4"}
	if version3 {
		s.versions = "3, 4"
	}
	return s, errors.Join(os.MkdirAll(filepath.Join(l.Dir, "recovery"), 0o755), os.WriteFile(s.file("conf"), []byte(s.configuration()), 0o644))
}

func (s *Server) file(kind string) string { return filepath.Join(s.lab.Dir, "ganesha."+kind) }

// Log is the path of the server's log.
func (s *Server) Log() string { return s.file("log") }

// withPortMapper begins a server that speaks NFS 3: without a port mapper it ends at once. That one
// has a folder of its own for its socket, and ends with it.
var withPortMapper = []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
	`mount -t tmpfs run /run && rpcbind && exec "$@"`, "sh"}

// Start starts the server.
func (s *Server) Start() error {
	command := []string{"ganesha.nfsd", "-F", "-f", s.file("conf"), "-L", s.Log(), "-p", s.file("pid"), "-N", "NIV_EVENT"}
	if s.versions != "4" {
		command = slices.Concat(withPortMapper, command)
	}
	c := exec.Command(command[0], command[1:]...)
	if err := s.lab.space.start(c); err != nil {
		return fmt.Errorf("start the NFS server: %w", err)
	}
	s.child, s.ended = c, make(chan struct{})
	go func(ended chan struct{}) {
		_ = c.Wait() // it is killed
		close(ended)
	}(s.ended)
	return nil
}

// Kill ends the server without a word.
func (s *Server) Kill() error {
	if s.child == nil {
		return nil
	}
	if err := s.child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.ended
	return nil
}

// Stop has the server stand still.
func (s *Server) Stop() error { return s.child.Process.Signal(syscall.SIGSTOP) }

// Continue lets it go on.
func (s *Server) Continue() error { return s.child.Process.Signal(syscall.SIGCONT) }

// Datastores of the lab's server.
func makeDatastores(dir string, names ...string) (all []lab.Datastore, err error) {
	for _, name := range names {
		d := lab.Datastore{Name: name, Dir: filepath.Join(dir, name)}
		err = errors.Join(err, os.MkdirAll(d.Dir, 0o755))
		all = append(all, d)
	}
	return all, err
}
