// Opens run files in JupyterLab: a document that shows the transcripts, as a report does.
//
// JupyterLab loads this file as it is, so there is nothing to build: it is a module federation container written by
// hand (init and get, at the end). The packages it needs are those of JupyterLab.
"use strict";

(() => {
  const NAME = "chat-evalkit";
  const TYPE = "evalkit-run"; // the name of the file type, of its model and of its content provider

  function activate(app, restorer, { apputils, coreutils, docregistry, services, ui, widgets }) {
    const { contents, serverSettings } = app.serviceManager;

    // Asks the part of evalkit in the Jupyter server for the transcripts, as an HTML page.
    async function transcripts(localPath) {
      const path = coreutils.URLExt.encodeParts(localPath);
      const url = coreutils.URLExt.join(serverSettings.baseUrl, "evalkit/transcripts", path);
      const response = await services.ServerConnection.makeRequest(url, { cache: "no-store" }, serverSettings);
      const { page, message } = await response.json().catch(() => ({}));
      if (page !== undefined) return page;
      throw new Error(message ?? `the Jupyter server answered ${response.status}. Is evalkit installed where it runs?`);
    }

    // The page may run only its own script. It has no origin, so it can reach neither Jupyter's page nor its server.
    function frame(page, title) {
      const element = document.createElement("iframe");
      element.setAttribute("sandbox", "allow-scripts");
      element.title = title;
      element.style.cssText = "border: 0; width: 100%; height: 100%";
      const theme = document.body.dataset.jpThemeLight === "false" ? "dark" : "light";
      element.srcdoc = page.replace("<html", `<html data-theme="${theme}"`);
      return element;
    }

    function sentence(text) {
      const element = document.createElement("p");
      element.textContent = text;
      element.style.cssText = "margin: 1rem; overflow-wrap: anywhere";
      element.setAttribute("role", "status");
      return element;
    }

    class Transcripts extends widgets.Widget {
      constructor(context) {
        super();
        this.context = context;
      }

      async read() {
        const { localPath } = this.context;
        this.node.replaceChildren(sentence(`Reading ${localPath} …`));
        let shown;
        try {
          shown = frame(await transcripts(localPath), `Transcripts of ${localPath}`);
        } catch (error) {
          shown = sentence(`The transcripts cannot be shown: ${error.message}`);
        }
        if (!this.isDisposed) this.node.replaceChildren(shown);
      }
    }

    class TranscriptsFactory extends docregistry.ABCWidgetFactory {
      createNewWidget(context) {
        // There is no content here that could be saved: a file of that name would be replaced with nothing.
        context.saveAs = async () => {
          apputils.showErrorMessage("Not saved", "JupyterLab only reads run files. Copy the file in the file browser.");
          return false;
        };
        const content = new Transcripts(context);
        const widget = new docregistry.DocumentWidget({ content, context });
        widget.revealed.then(() => content.read(), () => {}); // JupyterLab itself shows why a file is not there
        widget.title.icon = ui.listIcon;
        widget.toolbar.addItem("reload", new ui.ToolbarButton({
          icon: ui.refreshIcon, label: "Reload", tooltip: "Read the run file again", onClick: () => content.read(),
        }));
        return widget;
      }
    }

    // JupyterLab reads no content of a run file, which may be large, and neither saves it nor makes checkpoints of it.
    class RunFileModelFactory extends docregistry.TextModelFactory {
      get name() { return TYPE; }
      get fileFormat() { return null; }

      createNew(options) {
        const model = super.createNew(options);
        model.readOnly = true;
        return model;
      }
    }

    const drive = contents.defaultDrive;
    drive.contentProviderRegistry.register(TYPE, {
      get: async (path) => ({ ...await drive.get(path, { type: "file", content: false }), writable: false }),
      save: async () => { throw new Error("JupyterLab only reads run files"); },
    });
    app.docRegistry.addModelFactory(new RunFileModelFactory(false));
    app.docRegistry.addFileType({
      name: TYPE, displayName: "Run file", extensions: [".evalkit"], mimeTypes: ["application/vnd.sqlite3"],
      contentType: "file", fileFormat: "base64", icon: ui.listIcon,
    });
    const factory = new TranscriptsFactory({
      name: "Transcripts", modelName: TYPE, fileTypes: [TYPE], defaultFor: [TYPE], readOnly: true,
      contentProviderId: TYPE,
    });
    app.docRegistry.addWidgetFactory(factory);

    // What is open is open again when the page of JupyterLab is loaded again.
    const tracker = new apputils.WidgetTracker({ namespace: TYPE });
    factory.widgetCreated.connect((_, widget) => tracker.add(widget));
    restorer?.restore(tracker, {
      command: "docmanager:open", name: ({ context }) => context.path,
      args: ({ context }) => ({ path: context.path, factory: factory.name }),
    });
  }

  // -- the container

  let provided = {}; // the packages that JupyterLab and its extensions share: name to version to package

  async function shared(name) {
    const versions = Object.values(provided[name]);
    const own = versions.find(({ from }) => from === "@jupyterlab/application-top");
    return (await (own ?? versions[0]).get())();
  }

  async function plugin() {
    const [{ ILayoutRestorer }, apputils, coreutils, docregistry, services, ui, widgets] = await Promise.all([
      "@jupyterlab/application", "@jupyterlab/apputils", "@jupyterlab/coreutils", "@jupyterlab/docregistry",
      "@jupyterlab/services", "@jupyterlab/ui-components", "@lumino/widgets",
    ].map(shared));
    return {
      id: `${NAME}:run-files`,
      description: "Opens run files of evalkit as transcripts.",
      autoStart: true,
      optional: [ILayoutRestorer],
      activate: (app, restorer) =>
        activate(app, restorer, { apputils, coreutils, docregistry, services, ui, widgets }),
    };
  }

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB[NAME] = {
    init: (scope) => { provided = scope; },
    get: async () => {
      const found = await plugin();
      return () => found;
    },
  };
})();
