package child

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// A logFile keeps between logLimit and twice logLimit of the latest output.
const (
	logLimit  = 16 << 20 // Pebble writes some hundred bytes per request
	tailLimit = 8 << 10
)

// logFile is a file that is renamed to NAME.old when it is full.
type logFile struct {
	path string

	mutex sync.Mutex
	file  *os.File
	size  int
	last  []byte // the end of the output, at least tailLimit of it
}

func openLog(path string) (*logFile, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, file: file}, nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.size+len(p) > logLimit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	l.last = append(l.last, p...)
	if len(l.last) > 2*tailLimit {
		l.last = append(l.last[:0], l.last[len(l.last)-tailLimit:]...)
	}
	n, err := l.file.Write(p)
	l.size += n
	return n, err
}

func (l *logFile) rotate() error {
	if err := os.Rename(l.path, l.path+".old"); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	file, err := os.Create(l.path)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	l.file.Close() //nolint:errcheck // the old lines are not needed
	l.file, l.size = file, 0
	return nil
}

// tail returns the last lines.
func (l *logFile) tail() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.last) < tailLimit {
		return string(l.last)
	}
	end := l.last[len(l.last)-tailLimit:]
	return string(end[bytes.IndexByte(end, '\n')+1:])
}

func (l *logFile) count(words string) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	text, err := os.ReadFile(l.path)
	if err != nil {
		panic(err) // the folder exists until the test has ended
	}
	return bytes.Count(text, []byte(words))
}

func (l *logFile) Close() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.file.Close()
}
