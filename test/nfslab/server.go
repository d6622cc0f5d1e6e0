package nfslab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"storebeat/test/lab"
)

// Server is nfs-ganesha, which serves every datastore.
type Server struct {
	lab   *Lab
	lease time.Duration // of locks
	child *exec.Cmd
	ended chan struct{}
}

const (
	serverAddress = network + ".254"
	// ServerAddress6 is another address of the server, by IPv6.
	ServerAddress6 = network6 + "fe"
)

// configuration of the server. After a start it waits for a lock lease, in which
// clients claim again what they held.
func (s *Server) configuration() string {
	seconds := int(s.lease.Seconds())
	var b strings.Builder
	fmt.Fprintf(&b, `NFS_CORE_PARAM {
  Protocols = 4;
  NFS_Port = 2049;
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
`, seconds, seconds, filepath.Join(s.lab.Dir, "recovery"))
	for i, d := range s.lab.Datastores {
		fmt.Fprintf(&b, "EXPORT {\n  Export_Id = %d;\n  Path = %q;\n  Pseudo = /%s;\n  Access_Type = RW;\n  Squash = No_Root_Squash;\n"+
			"  SecType = sys;\n  Protocols = 4;\n  Transports = TCP;\n  FSAL { Name = VFS; }\n}\n", i+1, d.Dir, d.Name)
	}
	return b.String()
}

func newServer(l *Lab, lease time.Duration) (*Server, error) {
	s := &Server{lab: l, lease: lease}
	return s, errors.Join(os.MkdirAll(filepath.Join(l.Dir, "recovery"), 0o755), os.WriteFile(s.file("conf"), []byte(s.configuration()), 0o644))
}

func (s *Server) file(kind string) string { return filepath.Join(s.lab.Dir, "ganesha."+kind) }

// Log is the path of the server's log.
func (s *Server) Log() string { return s.file("log") }

// Start starts the server.
func (s *Server) Start() error {
	c := exec.Command("ganesha.nfsd", "-F", "-f", s.file("conf"), "-L", s.Log(), "-p", s.file("pid"), "-N", "NIV_EVENT")
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
