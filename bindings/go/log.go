package rstmdb

// #include "glue.h"
import "C"

import (
	"context"
	"log/slog"
	"sync/atomic"
)

var logger atomic.Pointer[slog.Logger]

// SetLogger sends the log of the library, for the whole process, to a logger; nil switches it off.
// What the logger does not want is not made: levels are asked for once, here. Its handler runs on
// threads of the library and must not use a database.
func SetLogger(to *slog.Logger) error {
	logger.Store(to)
	level := 0
	if to != nil {
		for i := range logLevels {
			if to.Enabled(context.Background(), logLevels[i]) {
				level = i + 1
			}
		}
	}
	var x exchange
	C.rgo_set_log(C.int32_t(level), &x.reply)
	return x.settled().err
}

// The levels of the library from 1, error, to 5, trace.
var logLevels = [...]slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug, slog.LevelDebug - 4}

func logLine(level int32, target, message string) {
	// A panic must not unwind through the library.
	defer func() { _ = recover() }()
	if to := logger.Load(); to != nil && level >= 1 && int(level) <= len(logLevels) {
		to.LogAttrs(context.Background(), logLevels[level-1], message, slog.String("target", target))
	}
}
